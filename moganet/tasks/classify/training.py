"""Image classification: losses, top-1 accuracy, and the optimizer and schedule of a recipe."""

from collections.abc import Sequence
from typing import Any, Self

import pytorch_lightning as pl
import torch
from timm.loss import BinaryCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from moganet.compat import set_update_count
from moganet.config import LossConfig, OptimizerConfig, ScheduleConfig
from moganet.errors import TrainingError

FUSED = ("adam", "adamw", "sgd", "momentum")  # timm's names of torch's optimizers with a fused form
CHECK_EVERY = {"cpu": 1, "cuda": 50}  # batches; on a GPU each look at a value waits for all work before it
TAMER = "lower optimizer.lr, set trainer.clip_norm, or use --set trainer.precision=f32"
WARMUP_START = 0.01  # the share of the rate at which warm-up begins


class Classification(pl.LightningModule):
    """Train and validate a classifier on batches (images, labels or soft targets, …).

    class_weights: a factor for each class (classes,). teacher: a network of the same classes to learn from.
    frozen: modules whose weights and statistics stay as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
        *,
        class_weights: Tensor | None = None,
        teacher: nn.Module | None = None,
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.loss_config, self.optimizer_config, self.schedule_config = loss, optimizer, schedule
        self.criterion = build_criterion(loss, num_classes, class_weights)
        self.plain_criterion = nn.CrossEntropyLoss()
        # In a list, so that the teacher is neither trained nor saved nor averaged with the network.
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher is not None else []
        self._frozen = [module.requires_grad_(False) for module in frozen]
        self._finite: Tensor | None = None
        self._last_images: Tensor | None = None
        self._unseen = 0
        # Neither looks at its values, which would wait for the device at each step.
        self.train_loss, self.val_loss = MeanMetric(nan_strategy="disable"), MeanMetric()
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro")

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except for what is frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def on_fit_start(self) -> None:
        self.train()  # Lightning keeps the modes that it finds

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch[:2]
        logits = self(images)
        loss: Tensor = self.criterion(logits, targets)
        if self._teacher:
            loss = self._with_teacher(loss, logits, images)
        self._watch(loss.detach(), images)
        labels = targets.argmax(1) if targets.is_floating_point() else targets
        self.train_loss.update(loss.detach(), len(images))
        self.train_top1.update(logits.detach(), labels)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/top1", self.train_top1, on_step=False, on_epoch=True)
        return loss

    def _with_teacher(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Mix in the divergence from the teacher's answers (Hinton et al. 2015, eq. 4 and section 2.1)."""
        temperature, share = self.loss_config.temperature, self.loss_config.teacher_weight
        with torch.no_grad():
            answers = self._teacher[0].to(images.device)(images)
        divergence = F.kl_div(
            F.log_softmax(logits / temperature, 1),
            F.log_softmax(answers / temperature, 1),
            log_target=True,
            reduction="batchmean",
        )
        return (1 - share) * loss + share * temperature**2 * divergence

    def _watch(self, loss: Tensor, images: Tensor) -> None:
        """Stop at a loss that is not finite; on a GPU look every so many steps, since a look waits for the device."""
        self._finite = loss.isfinite() if self._finite is None else self._finite & loss.isfinite()
        self._unseen, self._last_images = self._unseen + 1, images
        if self._unseen >= CHECK_EVERY.get(loss.device.type, 1):
            self._check_finite()

    def _check_finite(self) -> None:
        finite, self._finite, self._unseen = self._finite, None, 0
        if finite is not None and self._last_images is not None and not bool(finite):
            raise self._not_finite(self._last_images)

    def _not_finite(self, images: Tensor) -> TrainingError:
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        culprit = first_not_finite(self.network, images)
        where = (
            f"the first module whose output is not finite is {culprit}"
            if culprit
            else "every module's output is finite"
        )
        return TrainingError(
            f"the loss is not finite at step {self.global_step} (learning rate {rate:.3g}); {where}; {TAMER}"
        )

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch[:2]
        if len(labels):
            logits = self(images).float()
            self.val_loss.update(self.plain_criterion(logits, labels), len(images))
            self.val_top1.update(logits, labels)
        elif self.trainer.world_size == 1:  # none of the batch's files could be read
            return
        # Several processes log together, the one without images as well.
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True)
        self.log("val/top1", self.val_top1, on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the metrics of an epoch that has begun, over all processes; their states are sums.

        Raises TrainingError for a loss that was not finite, so that no such state takes the place of a good one.
        """
        self._check_finite()
        checkpoint["metrics"] = {}
        for name, metric in (("loss", self.train_loss), ("top1", self.train_top1)):
            state = {key: value.clone() for key, value in metric.metric_state.items() if isinstance(value, Tensor)}
            if self.trainer.world_size > 1:
                for value in state.values():
                    torch.distributed.all_reduce(value)
            checkpoint["metrics"][name] = metric.update_count, state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, metric in (("loss", self.train_loss), ("top1", self.train_top1)):
            count, state = checkpoint["metrics"][name]
            set_update_count(metric, count)
            for key, value in state.items():  # one process goes on with the sums of all
                own = value if self.trainer.is_global_zero else torch.zeros_like(value)
                setattr(metric, key, own.clone().to(metric.device))

    def configure_optimizers(self) -> Any:
        # A fused step takes float16's scale out of the gradients itself, too late for clipping.
        fused = not (self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val)
        optimizer = build_optimizer(self.network, self.optimizer_config, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(optimizer, self.schedule_config, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm over all gradients; Lightning's own refuses a fused optimizer in bf16 too."""
        if gradient_clip_val:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(self.global_step)


def build_criterion(config: LossConfig, num_classes: int, class_weights: Tensor | None = None) -> nn.Module:
    """Make the loss of logits (B, classes) against labels (B,) or soft targets (B, classes)."""
    if config.name == "cross_entropy":
        return nn.CrossEntropyLoss(class_weights, label_smoothing=config.smoothing)
    criterion: nn.Module = BinaryCrossEntropy(config.smoothing, config.bce_threshold, weight=class_weights)
    return criterion


def build_optimizer(network: nn.Module, config: OptimizerConfig, *, fused: bool = True) -> Optimizer:
    """Make a network's optimizer by timm's name; what weight decay spares is OptimizerConfig's choice.

    fused: one kernel for all parameters, where torch has one.
    """
    options: dict[str, Any] = {} if config.betas is None else {"betas": config.betas}
    if fused and config.name in FUSED:
        options["fused"] = True
    optimizer: Optimizer = create_optimizer_v2(
        network,
        config.name,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        filter_bias_and_bn=not config.decay_all,
        layer_decay=config.layer_decay,
        **options,
    )
    return optimizer


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, steps: int) -> Scheduler:
    """Make a schedule of `steps` optimizer steps: linear warm-up from a hundredth, then the curve.

    After n steps the cosine gives min_lr + (lr - min_lr) (1 + cos(pi n / steps)) / 2, as torch's CosineAnnealingLR.
    """
    warmup = round(config.warmup * steps)
    rest = max(1, steps - warmup)
    constant = config.name == "constant"
    rate = optimizer.defaults["lr"]
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine" if constant else config.name,
        num_epochs=rest,  # in steps: one update an "epoch"
        updates_per_epoch=1,
        step_on_epochs=False,
        warmup_epochs=warmup,
        warmup_lr=WARMUP_START * rate,
        warmup_prefix=True,
        min_lr=rate if constant else config.min_lr,
        decay_rate=1.0 if config.name == "poly" else config.decay_rate,
        decay_epochs=max(1, round(config.every * rest)),
        decay_milestones=[max(1, round(share * rest)) for share in config.milestones],
    )
    return scheduler


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Name the first module, in the order of execution, whose output holds an infinity or a NaN."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(name)

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    hooks = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
