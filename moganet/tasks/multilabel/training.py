"""Multi-label classification's part of training: its losses, and what a blend of images shows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor, nn
from torch.nn import functional as F

from moganet.tasks.module import Learning, TaskModule
from moganet.tasks.multilabel.description import MultilabelDescription, MultilabelLoss, MultilabelSettings
from moganet.tasks.multilabel.evaluator import MultilabelEvaluator


class MultilabelTraining(TaskModule):
    """Train and validate on rows (B, classes) of 0 and 1, or of shares under mixup and cutmix.

    pos_weights: a factor for each class's positives (classes,). Average precision is of validation alone: exact, it
    would keep all of an epoch's outputs.
    """

    def __init__(
        self,
        network: nn.Module,
        description: MultilabelDescription,
        learning: Learning,
        settings: MultilabelSettings,
        pos_weights: Tensor | None = None,
    ) -> None:
        assert isinstance(learning.loss, MultilabelLoss)
        super().__init__(network, learning, MultilabelEvaluator(description, keeps=False), {})
        self.mix, self.criterion = settings.mix, build_criterion(learning.loss, pos_weights)

    def loss_of(self, outputs: Tensor, targets: Any) -> Tensor:
        rows = (targets > 0).float() if self.mix == "union" else targets
        loss: Tensor = self.criterion(outputs, rows)
        return loss

    def measure(self, outputs: Tensor, targets: Any) -> None:
        """Nothing but the loss is measured of training."""

    def divergence(self, outputs: Tensor, answers: Tensor) -> Tensor:
        """Give the mean divergence of each class, that it is there or not, from a teacher's."""
        temperature = self.learning.loss.temperature
        ours, theirs = outputs / temperature, answers / temperature
        entropy = F.binary_cross_entropy_with_logits(theirs, theirs.sigmoid())
        return F.binary_cross_entropy_with_logits(ours, theirs.sigmoid()) - entropy


class SmoothedCrossEntropy(nn.BCEWithLogitsLoss):
    """Binary cross-entropy with targets that are moved towards 0.5."""

    def __init__(self, smoothing: float, pos_weights: Tensor | None) -> None:
        super().__init__(pos_weight=pos_weights)
        self.smoothing = smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002 (torch's names)
        return super().forward(input, target * (1 - self.smoothing) + self.smoothing / 2)


def build_criterion(config: MultilabelLoss, pos_weights: Tensor | None = None) -> nn.Module:
    """Make the loss of logits (B, classes) against rows (B, classes) of 0 to 1, its mean over images and classes."""
    if config.name == "bce":
        return SmoothedCrossEntropy(config.smoothing, pos_weights)
    criterion: nn.Module = AsymmetricLossMultiLabel(
        config.gamma_neg,
        config.gamma_pos,
        config.clip,
        smoothing=config.smoothing,
        reduction="mean",
        pos_weight=pos_weights,
    )
    return criterion


def balanced(counts: NDArray[np.int64] | Tensor, number: int) -> Tensor:
    """Weigh each class's positives (classes,) as much as its negatives; of `number` images."""
    having = torch.as_tensor(counts)
    return ((number - having).clamp(min=1) / having.clamp(min=1)).float()
