"""What all tasks share in training (a LightningModule): a finite loss, frozen parts, a teacher, optimizer, schedule."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric

from moganet.compat import set_update_count
from moganet.config import LossSettings, OptimizerConfig, ScheduleConfig
from moganet.data import Dataset
from moganet.data.targets import Targets
from moganet.errors import ConfigError, TrainingError
from moganet.tasks.evaluator import Evaluator
from moganet.tasks.held import Held
from moganet.tasks.optimize import build_optimizer, build_schedule

CHECK_EVERY = {"cpu": 1, "cuda": 50}  # batches; on a GPU each look at a value waits for all work before it
TAMER = "lower optimizer.lr, set trainer.clip_norm, or use --set trainer.precision=f32"


@dataclass(frozen=True)
class Learning:
    """How a network learns. teacher: another network, of the same classes. frozen: modules that stay as they are.

    head, head_epochs: modules that alone learn in the first epochs, and how many these are.
    """

    loss: LossSettings
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    teacher: nn.Module | None = None
    frozen: Sequence[nn.Module] = ()
    head: Sequence[nn.Module] = ()
    head_epochs: int = 0


class TaskModule(pl.LightningModule):
    """Train and validate a network on batches (images, targets, …).

    A task says its loss (`loss_of`), what it logs beside (`train_metrics`, `measure`), and what evaluates it.
    """

    def __init__(
        self,
        network: nn.Module,
        learning: Learning,
        evaluator: Evaluator,
        train_metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.learning = network, learning
        # In a list, so that the teacher is neither trained nor saved nor averaged with the network.
        teacher = learning.teacher
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher is not None else []
        # In a list too: the network's parts are no parts of this module by a second name.
        self._held = [Held(network, learning.frozen, learning.head, learning.head_epochs)]
        self._finite: Tensor | None = None
        self._last_images: Tensor | None = None
        self._unseen = 0
        self.evaluator = evaluator
        self.train_loss = MeanMetric(nan_strategy="disable")  # a look at its values would wait for the device
        self.train_metrics = nn.ModuleDict(dict(train_metrics or {}))

    @abstractmethod
    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """Give the loss of what the network gave for a batch: in training, or as it answers."""

    def learned(self, images: Tensor) -> Any:
        """Give what the network is trained by: its outputs, and perhaps those of heads that only training has."""
        return self(images)

    def step_of(self, images: Tensor, targets: Any) -> tuple[Any, Tensor]:
        """Give what the network gives for a batch, in training or as it answers, and the loss of it."""
        outputs = self.learned(images) if self.training else self(images)
        return outputs, self.loss_of(outputs, targets)

    def answered(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """Give what the evaluator takes of a batch of validation images, float32 by name."""
        return {"logits": self(images).float()}

    def measure(self, outputs: Any, targets: Any) -> None:
        """Update the metrics of training by a batch's outputs, which have no gradients; here there is but the loss."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self._held[0].keep_modes()
        return self

    def on_fit_start(self) -> None:
        self.train()  # Lightning keeps the modes that it finds

    def on_train_start(self) -> None:
        self._begin_epoch()

    def on_train_epoch_start(self) -> None:
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        if self._held[0].begin(self.current_epoch):
            self.train()

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images)
        return outputs

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, targets = batch[:2]
        outputs, loss = self.step_of(images, targets)
        if self._teacher:
            loss = self._with_teacher(loss, outputs, images)
        self._watch(loss.detach(), images)
        self.train_loss.update(loss.detach(), len(images))
        self.measure(detached(outputs), targets)
        for name, metric in self._train_figures().items():
            self.log(f"train/{name}", metric, on_step=False, on_epoch=True)
        return loss

    def _train_figures(self) -> dict[str, Metric]:
        named = {name: metric for name, metric in self.train_metrics.items() if isinstance(metric, Metric)}
        return {"loss": self.train_loss, **named}

    def divergence(self, outputs: Any, answers: Tensor) -> Tensor:
        """Give the divergence of outputs from a teacher's answers at the loss's temperature."""
        temperature = self.learning.loss.temperature
        ours, theirs = (F.log_softmax(logits / temperature, 1) for logits in (outputs, answers))
        return F.kl_div(ours, theirs, log_target=True, reduction="batchmean")

    def _with_teacher(self, loss: Tensor, outputs: Any, images: Tensor) -> Tensor:
        """Mix in the divergence from the teacher's answers (Hinton et al. 2015, eq. 4 and section 2.1)."""
        temperature, share = self.learning.loss.temperature, self.learning.loss.teacher_weight
        with torch.no_grad():
            answers = self._teacher[0].to(images.device)(images)
        return (1 - share) * loss + share * temperature**2 * self.divergence(outputs, answers)

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
        why = "every module's output is finite"
        if culprit := first_not_finite(self.network, images):
            why = f"the first module whose output is not finite is {culprit}"
        where = f"at step {self.global_step} (learning rate {self.learning_rate:.3g})"
        return TrainingError(f"the loss is not finite {where}; {why}; {TAMER}")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, targets = batch[:2]
        if len(targets):  # images without any are broadcast to channels
            self.evaluator.update(self.answered(images, targets), targets)
        elif self.trainer.world_size == 1:  # none of the batch's files could be read
            return
        # Several processes log together, the one without images as well.
        for name, metric in self.evaluator.figures().items():
            self.log(f"val/{name}", metric, on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the metrics of an epoch that has begun, over all processes; their states are sums.

        Raises TrainingError for a loss that was not finite, so that no such state takes the place of a good one.
        """
        self._check_finite()
        checkpoint["metrics"] = {}
        for name, metric in self._train_figures().items():
            state = {key: value.clone() for key, value in metric.metric_state.items() if isinstance(value, Tensor)}
            if self.trainer.world_size > 1:
                for value in state.values():
                    torch.distributed.all_reduce(value)
            checkpoint["metrics"][name] = metric.update_count, state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, metric in self._train_figures().items():
            count, state = checkpoint["metrics"][name]
            set_update_count(metric, count)
            for key, value in state.items():  # one process goes on with the sums of all
                own = value if self.trainer.is_global_zero else torch.zeros_like(value)
                setattr(metric, key, own.clone().to(metric.device))

    def configure_optimizers(self) -> Any:
        # A fused step takes float16's scale out of the gradients itself, too late for clipping.
        fused = not (self.trainer.precision == "16-mixed" and self.trainer.gradient_clip_val)
        optimizer = build_optimizer(self.network, self.learning.optimizer, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = build_schedule(optimizer, self.learning.schedule, max(1, steps - self._head_steps()))
        if self.learning.head_epochs:
            scheduler.update_groups(scheduler.base_values)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm over all gradients; Lightning's own refuses a fused optimizer in bf16 too."""
        if gradient_clip_val:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        done = self.global_step - self._head_steps()
        if done < 0:
            scheduler.update_groups(scheduler.base_values)
        else:
            scheduler.step_update(done)

    def _head_steps(self) -> int:
        """Give the steps in which the head alone learns, at the full rate; the schedule begins after them."""
        if not self.learning.head_epochs:  # batches may be without end then
            return 0
        parts = self.learning.head_epochs * self.trainer.num_training_batches
        return math.ceil(parts / self.trainer.accumulate_grad_batches)

    @property
    def learning_rate(self) -> float:
        """Give the rate of the next step, of the last layers where earlier ones have lower rates."""
        return max(float(group["lr"]) for group in self.optimizers().param_groups)  # type: ignore[union-attr]

    def set_learning_rate(self) -> None:
        """Set the rate of the next step by the schedule alone, whatever it was."""
        self.lr_scheduler_step(self.lr_schedulers(), None)


def detached(outputs: Any) -> Any:
    """Give outputs without their gradients."""
    return (
        outputs.detach() if isinstance(outputs, Tensor) else tuple(one.detach() for one in outputs if one is not None)
    )


def first_not_finite(network: nn.Module, images: Tensor) -> str | None:
    """Name the first module, in the order of execution, whose output holds an infinity or a NaN."""
    found: list[str] = []

    def watch(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
            found.append(name)

    leaves = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    hooks = [module.register_forward_hook(partial(watch, name)) for name, module in leaves]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def weights_of_classes(
    setting: str,
    given: str | Sequence[float] | None,
    dataset: Dataset,
    named: Callable[[Targets], Tensor],
) -> Tensor | None:
    """Give a factor for each class (classes,): those given, or where they have a name what training targets make.

    named: gives these of the targets. Raises ConfigError for another number.
    """
    classes = len(dataset.class_names)
    if given is None:
        return None
    if isinstance(given, str):
        return named(dataset.split("train").targets)
    if len(given) != classes:
        raise ConfigError(f"{setting} has {len(given)} values, but {dataset.spec} has {classes} classes")
    return torch.tensor(given, dtype=torch.float32)
