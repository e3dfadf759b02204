"""Image classification: cross-entropy, top-1 accuracy, and the optimizer and schedule of a recipe."""

from typing import Any

import pytorch_lightning as pl
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from moganet.config import LossConfig, OptimizerConfig, ScheduleConfig


class Classification(pl.LightningModule):
    """Train and validate a classifier on batches (images, labels or soft targets, …)."""

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer_config, self.schedule_config = optimizer, schedule
        self.criterion = nn.CrossEntropyLoss(label_smoothing=loss.smoothing)
        self.plain_criterion = nn.CrossEntropyLoss()
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch[:2]
        logits = self(images)
        loss: Tensor = self.criterion(logits, targets)
        labels = targets.argmax(1) if targets.is_floating_point() else targets
        self.train_loss.update(loss.detach(), len(images))
        self.train_top1.update(logits.detach(), labels)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/top1", self.train_top1, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch[:2]
        if not len(images):
            return
        logits = self(images).float()
        self.val_loss.update(self.plain_criterion(logits, labels), len(images))
        self.val_top1.update(logits, labels)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True)
        self.log("val/top1", self.val_top1, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.network, self.optimizer_config)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(optimizer, self.schedule_config, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(self.global_step)


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make a network's optimizer by timm's name; what weight decay spares is OptimizerConfig's choice."""
    options: dict[str, Any] = {} if config.betas is None else {"betas": config.betas}
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        network,
        config.name,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=not config.decay_all,
        **options,
    )
    return optimizer


def build_schedule(optimizer: torch.optim.Optimizer, config: ScheduleConfig, steps: int) -> Scheduler:
    """Make a schedule of `steps` optimizer steps: linear warm-up from a hundredth, then a cosine or a constant rate.

    After n steps the cosine gives min_lr + (lr - min_lr) (1 + cos(pi n / steps)) / 2, as torch's CosineAnnealingLR.
    """
    warmup = round(config.warmup * steps)
    constant = config.name == "constant"
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, steps - warmup),
        lr_min=optimizer.defaults["lr"] if constant else config.min_lr,
        warmup_t=warmup,
        warmup_lr_init=0.01 * optimizer.defaults["lr"],
        warmup_prefix=True,
        t_in_epochs=False,
    )
