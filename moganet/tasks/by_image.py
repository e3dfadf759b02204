"""The contract of a task whose answers are of an image's own size; what explains one class explains a region of it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Architecture, MapsSettings, Preprocessing, Recipe, TaskSettings
from moganet.errors import ConfigError
from moganet.tasks.task import Array, Outputs, Task, TaskDescription

if TYPE_CHECKING:
    from torch import nn


class TaskByImage(Task):
    """A task that sees each image by itself, in its own size, which its answers have too."""

    by_image = True

    def network(self, architecture: Architecture, settings: TaskSettings) -> Architecture:
        assert isinstance(settings, MapsSettings)
        return architecture.changed(head=settings.head)

    @abstractmethod
    def see(
        self,
        pixels: NDArray[np.uint8],
        ask: Callable[..., Outputs],
        description: TaskDescription,
        preprocessing: Preprocessing,
        boxes: Array | None = None,
    ) -> Outputs:
        """Give the outputs for one image, uint8 (C, H, W) as it is.

        ask: gives what the network gives for preprocessed images (B, C, h, w), and where a task is `sized` their sizes.
        boxes (N, 5): what of the image is asked about, where a task takes boxes: x, y, width, height in pixels, and
        their scores; None is all of it.
        """

    def region(self, outputs: Outputs, target: int | None, box: Sequence[float] | None) -> tuple[Array, int]:
        """Say what of an image is explained, weights (h, w), and for which class.

        outputs: for that image. target: None is the largest class. box: left, top, width and height as shares of the
        sides; None is what is answered to be of the class. Raises DataError where nothing is, ConfigError where answers
        of the task are not explained.
        """
        raise ConfigError(self.unexplained)

    def focused(self, network: "nn.Module", weights: Array) -> "nn.Module":
        """Give a network that gives the logits (B, classes) of a region. Raises ConfigError as `region` does."""
        raise ConfigError(self.unexplained)

    def drawn(self, image: NDArray[np.uint8], answer: Any) -> NDArray[np.uint8]:
        drawn: NDArray[np.uint8] = self.picture(image, answer, None).image
        return drawn

    def pooled(self, outputs: Outputs, weights: Array) -> Outputs:
        """Give the logits (B, classes) of a region."""
        return {"logits": np.einsum("bchw,hw->bc", outputs["logits"], weights / weights.sum()).astype(np.float32)}


def refuse_blending(recipe: Recipe, what: str) -> None:
    """Raise ConfigError for a recipe that blends images, for a task whose targets can't be. what: "no boxes"."""
    for name in ("mixup", "cutmix"):
        if getattr(recipe.augment, name):
            raise ConfigError(f"augment.{name} blends the classes of whole images, and {what}; leave it at 0")
