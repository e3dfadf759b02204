"""Detection's part of training: the head's losses, and COCO's average precision of whole images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moganet.errors import ConfigError
from moganet.network.dense.detector import Detector
from moganet.network.dense.matching import Objects
from moganet.tasks.detect.description import DetectDescription, DetectLoss
from moganet.tasks.detect.evaluator import DetectEvaluator
from moganet.tasks.detect.seeing import padded, to_own_pixels
from moganet.tasks.module import Learning, TaskModule


class DetectTraining(TaskModule):
    """Train and validate on what is marked in images, dicts as BoxTargets gives them.

    Nothing but the loss is measured of training.
    """

    def __init__(self, network: nn.Module, description: DetectDescription, learning: Learning) -> None:
        assert isinstance(network, Detector) and isinstance(learning.loss, DetectLoss)
        if learning.teacher is not None:
            raise ConfigError("loss.teacher: boxes are not learned from a teacher's answers; leave it out")
        evaluator = DetectEvaluator(description, keeps=False, masks="masks" in network.outputs)
        super().__init__(network, learning, evaluator)
        self.sampling = learning.loss.sampling

    def step_of(self, images: Tensor, targets: Any) -> tuple[Any, Tensor]:
        assert isinstance(self.network, Detector)
        losses = self.network.losses(images, sizes_of(targets), [objects_of(one) for one in targets], self.sampling)
        return (), torch.stack([loss.float() for loss in losses.values()]).sum()

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        raise AssertionError("a detector's loss is not one of its answers")

    def answered(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """Find what images of one size show, in the pixels that they had before they were brought to it."""
        size = images.shape[-2], images.shape[-1]
        found = self.network(padded(images), sizes=[size] * len(images))
        return to_own_pixels(found, [size] * len(images), [tuple(one["size"].tolist()) for one in targets])


def sizes_of(targets: Sequence[Any]) -> list[tuple[int, int]]:
    """Give the height and width that each image of a batch has within what it was filled up to."""
    return [(int(one["size"][0]), int(one["size"][1])) for one in targets]


def objects_of(target: Any) -> Objects:
    """Give what is learned of an image's target: all but crowds."""
    if not bool(target["crowd"].any()):
        return Objects(target["boxes"], target["labels"], target.get("masks"))
    kept = ~target["crowd"]
    masks = target["masks"][kept] if "masks" in target else None
    return Objects(target["boxes"][kept], target["labels"][kept], masks)
