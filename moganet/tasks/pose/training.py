"""The part of training that key points have: the loss of heat maps, and what is measured of whole images."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet.config import Preprocessing
from moganet.data import Dataset
from moganet.data.people_targets import PeopleTargets
from moganet.tasks.module import Learning, TaskModule
from moganet.tasks.pose.description import PoseDescription, PoseLoss
from moganet.tasks.pose.evaluator import PoseEvaluator
from moganet.tasks.pose.losses import HeatmapLoss
from moganet.tasks.pose.rows import marked_rows


class PoseTraining(TaskModule):
    """Train and validate on crops of one thing each. truth: rows of all that is marked in the validation images.

    Nothing but the loss is measured of training: its crops are moved and turned.
    """

    def __init__(
        self,
        network: nn.Module,
        description: PoseDescription,
        learning: Learning,
        preprocessing: Preprocessing,
        truth: Tensor,
    ) -> None:
        assert isinstance(learning.loss, PoseLoss)
        criterion = HeatmapLoss(learning.loss, preprocessing.size)
        super().__init__(network, learning, PoseEvaluator(description, truth, criterion))
        self.criterion = criterion

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        loss: Tensor = self.criterion(outputs, targets["places"])
        return loss

    def answered(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        return {"heatmaps": self(images).float()}

    def divergence(self, outputs: Any, answers: Tensor) -> Tensor:
        """Give the mean squared difference of heat maps from a teacher's, which have no temperature."""
        return F.mse_loss(outputs.float(), answers.float()) / self.learning.loss.temperature**2


def truth_of(dataset: Dataset) -> Tensor:
    """Give the rows of all that is marked in the validation images."""
    targets = dataset.split("val").targets
    assert isinstance(targets, PeopleTargets)
    return torch.cat([marked_rows(targets[place]) for place in range(len(targets))])
