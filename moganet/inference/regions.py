"""A segmenter as a predictor of one region of an image, so that what explains classifiers explains it too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moganet.data.preprocess import normalize
from moganet.errors import ConfigError
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array, Outputs, Sizes
from moganet.tasks.by_image import TaskByImage


@dataclass(frozen=True)
class RegionRun:
    """What a segmenter gives for a region, the pixels that `weights` (h, w) take."""

    whole: Predictor
    task: TaskByImage
    weights: Array
    runtime: str
    precision: str

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        """Give the mean logits (B, classes)."""
        return self.task.pooled(self.whole.ask(images, sizes), self.weights)


def focused(whole: Predictor, image: Any, target: int | None, region: Sequence[float] | None) -> tuple[Predictor, str]:
    """Give a predictor of a region of an image, and the name of the explained class, as TaskByImage.region says."""
    x = normalize(whole.picture(image), whole.config.preprocessing)[None].numpy()
    task = whole.task
    assert isinstance(task, TaskByImage)
    weights, chosen = task.region(whole.ask(x), target, region)
    run = RegionRun(whole, task, weights, whole.runtime, whole.precision)
    module = (lambda: task.focused(whole.model, weights)) if whole.has_module else None
    known, name = whole.trained, whole.name_of_model
    part = Predictor(run, whole.config, whole.device, module, trained=known, name_of_model=name, threads=whole.threads)
    return part, whole.class_names[chosen]


def check_region(region: Sequence[float] | None) -> None:
    """Raise ConfigError for what is no left, top, width and height as shares of an image's sides."""
    if region is None:
        return
    if len(region) != 4 or not all(0 <= part <= 1 for part in region) or not region[2] * region[3]:
        raise ConfigError(f"region {tuple(region)} must be left, top, width and height as shares from 0 to 1")
