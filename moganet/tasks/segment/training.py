"""Segmentation's part of training: the heads' losses, and what is measured of whole images."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from moganet.tasks.module import Learning, TaskModule
from moganet.tasks.segment.description import SegmentDescription, SegmentLoss
from moganet.tasks.segment.evaluator import SegmentEvaluator
from moganet.tasks.segment.losses import PixelLoss


class SegmentTraining(TaskModule):
    """Train and validate on masks (B, H, W) of classes. weights: a factor for each class's pixels (classes,).

    Nothing but the loss is measured of training: its parts of images are no images.
    """

    def __init__(
        self, network: nn.Module, description: SegmentDescription, learning: Learning, weights: Tensor | None = None
    ) -> None:
        assert isinstance(learning.loss, SegmentLoss)
        super().__init__(network, learning, SegmentEvaluator(description, keeps=False))
        self.criterion, self.auxiliary_weight = PixelLoss(learning.loss, weights), learning.loss.auxiliary_weight

    def learned(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        outputs: tuple[Tensor, Tensor | None] = self.network.forward_train(images)  # type: ignore[operator]
        return outputs

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        loss: Tensor = self.criterion(logits, targets)
        return loss if auxiliary is None else loss + self.auxiliary_weight * self.criterion(auxiliary, targets)

    def divergence(self, outputs: Any, answers: Tensor) -> Tensor:
        """Give the mean divergence of each pixel's classes from a teacher's, at the teacher's size."""
        temperature = self.learning.loss.temperature
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        ours = F.log_softmax(F.interpolate(logits, answers.shape[2:], mode="bilinear") / temperature, 1)
        theirs = F.log_softmax(answers / temperature, 1)
        return F.kl_div(ours, theirs, log_target=True, reduction="none").sum(1).mean()
