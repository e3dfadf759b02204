"""Image classification's part of training: its losses, and top-1 accuracy."""

from typing import Any

from timm.loss import BinaryCrossEntropy
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from moganet.tasks.classify.description import ClassifyDescription, ClassifyLoss
from moganet.tasks.classify.evaluator import ClassifyEvaluator
from moganet.tasks.module import Learning, TaskModule


class Classification(TaskModule):
    """Train and validate a classifier on labels (B,) or soft rows (B, classes). class_weights: factors (classes,)."""

    def __init__(
        self,
        network: nn.Module,
        description: ClassifyDescription,
        learning: Learning,
        class_weights: Tensor | None = None,
    ) -> None:
        assert isinstance(learning.loss, ClassifyLoss)
        top1 = MulticlassAccuracy(len(description.class_names), average="micro", validate_args=False)
        super().__init__(network, learning, ClassifyEvaluator(description, keeps=False), {"top1": top1})
        self.criterion = build_criterion(learning.loss, class_weights)

    def loss_of(self, outputs: Tensor, targets: Any) -> Tensor:
        loss: Tensor = self.criterion(outputs, targets)
        return loss

    def measure(self, outputs: Tensor, targets: Any) -> None:
        labels = targets.argmax(1) if targets.is_floating_point() else targets
        self.train_metrics["top1"].update(outputs, labels)  # type: ignore[operator]


def build_criterion(config: ClassifyLoss, class_weights: Tensor | None = None) -> nn.Module:
    """Make the loss of logits (B, classes) against labels (B,) or soft targets (B, classes)."""
    if config.name == "cross_entropy":
        return nn.CrossEntropyLoss(class_weights, label_smoothing=config.smoothing)
    criterion: nn.Module = BinaryCrossEntropy(config.smoothing, config.bce_threshold, weight=class_weights)
    return criterion
