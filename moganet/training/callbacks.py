"""What happens around a run's loop: progress for people, and the files that a run leaves."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from rich.progress import MofNCompleteColumn, Progress
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from moganet.errors import TrainingError, WeightsError
from moganet.inference import ModelDescription, save_model_file
from moganet.models.make_fixtures import make_fixtures
from moganet.progress import RATE, make_bar, stderr_console
from moganet.results import Metric
from moganet.tasks.module import TAMER, TaskModule
from moganet.training.run_folder import BEST_FILE, LAST_FILE
from moganet.training.run_log import RunLog

Watch = Callable[[int, float], bool]  # (epoch, figure) -> whether the run ends here


class ValidatesLast(pl.Callback):
    """Let validation run after the last epoch too, whatever `trainer.validate_every` is: the last weights are kept."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which is not called where a run goes on within an epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class RunProgress(pl.Callback):
    """Show a bar with images/s and the time left on a terminal, a plain line an epoch elsewhere (on stderr)."""

    def __init__(self, metrics: Sequence[Metric], written: RunLog | None = None) -> None:
        self.metrics, self.written, self.console = metrics, written, stderr_console()
        self.bar: Progress | None = None
        self.task: Any = None
        self.images, self.seconds = 0, 0.0
        self.start, self.earlier = time.perf_counter(), 0.0
        self.before_epoch, self.batch_start = (0, 0.0), 0.0
        self.validated = False  # in this epoch: the trainer keeps the figures of an earlier one

    @property
    def images_per_second(self) -> float:
        """Give the rate over all training so far, validation excluded."""
        return self._rate_since(0, 0.0)

    def _rate_since(self, images: int, seconds: float) -> float:
        return (self.images - images) / (self.seconds - seconds) if self.seconds > seconds else 0.0

    @property
    def elapsed(self) -> float:
        """Give the seconds since the run began, without those in which it was stopped."""
        return self.earlier + time.perf_counter() - self.start

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.seconds, self.earlier = (state_dict[name] for name in ("images", "seconds", "elapsed"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batch_start = time.perf_counter()
        if self.console.is_terminal and trainer.is_global_zero:
            self.bar = make_bar(self.console, MofNCompleteColumn(), RATE)
            self.bar.start()
            steps = trainer.estimated_stepping_batches, trainer.global_step
            total, done = (number * trainer.accumulate_grad_batches for number in steps)
            self.task = self.bar.add_task("train", total=total, completed=int(done), rate="")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.before_epoch, self.batch_start = (self.images, self.seconds), time.perf_counter()
        self.validated = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.images += len(batch[0]) * trainer.world_size
        self.seconds += now - self.batch_start
        self.batch_start = now
        if self.bar is not None:
            rate = f"{self._rate_since(*self.before_epoch):.0f} images/s"
            self.bar.update(self.task, advance=1, rate=rate, description=_epoch(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batch_start, self.validated = time.perf_counter(), True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rate = self._rate_since(*self.before_epoch)
        pl_module.log("train/images_per_second", rate, sync_dist=trainer.world_size > 1)
        if trainer.is_global_zero:
            text = describe_epoch(trainer, rate, self.metrics, validated=self.validated)
            if self.written is not None:
                self.written.write(text)
            self.console.print(text, soft_wrap=True)

    def on_train_end(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()


def _epoch(trainer: pl.Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def describe_epoch(trainer: pl.Trainer, rate: float, metrics: Sequence[Metric], *, validated: bool) -> str:
    """Say in one line what an epoch gave: the loss and what the task's `metrics` name, in validation if it had one."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    parts = [_epoch(trainer)]
    for split, label in (("train", "train"), *([("val", "validation")] if validated else [])):
        loss = [f"loss {values[f'{split}/loss']:.4f}"] if f"{split}/loss" in values else []
        known = [(metric, values[key]) for metric in metrics if (key := f"{split}/{metric.name}") in values]
        if said := [*loss, *(f"{metric.name} {metric.text(value)}" for metric, value in known)]:
            parts.append(" ".join([label, *said]))
    return "  ".join([*parts, f"{rate:.0f} images/s"])


def average_weights(decay: float) -> WeightAveraging:
    """Average the weights exponentially, with a decay that warms up so that a short run forgets its start.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage.
    """

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        if averaged[0].is_floating_point():
            number = int(num_averaged)
            warmed_up = min(decay, (1 + number) / (10 + number))
            get_ema_multi_avg_fn(warmed_up)(averaged, current, number)  # type: ignore[no-untyped-call]
        else:  # counters
            for kept, new in zip(averaged, current, strict=True):
                kept.copy_(new)

    return WeightAveraging(multi_avg_fn=average)


class Watched(pl.Callback):
    """Tell each epoch's figure in validation to `watch`, and end the run where that gives True."""

    def __init__(self, monitor: Metric, watch: Watch) -> None:
        self.monitor, self.watch = monitor, watch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figure = trainer.callback_metrics.get(f"val/{self.monitor.name}")
        if figure is not None and self.watch(trainer.current_epoch + 1, float(figure)):
            trainer.should_stop = True


class ModelFiles(pl.Callback):
    """Keep the weights of the best validation and the last ones.

    Comes before the callback that averages weights, which puts them in place for validation, and takes them out after.
    """

    def __init__(self, out: Path, description: ModelDescription, fixtures: list[Tensor], monitor: Metric) -> None:
        self.out, self.description, self.fixtures, self.monitor = out, description, fixtures, monitor
        self.best: dict[str, float] | None = None
        self.last: dict[str, float] = {}
        self.validated_step = -1

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        if trainer.world_size == 1 and not pl_module.evaluator.has_seen:
            return
        measured = {"epoch": trainer.current_epoch + 1, **pl_module.evaluator.compute()}
        self.description = self.description.changed(task=pl_module.evaluator.fitted(self.description.task))
        self.last, self.validated_step = measured, trainer.global_step
        self.save(trainer, pl_module, LAST_FILE, measured)
        name, sign = self.monitor.name, self.monitor.sign
        # Of equals the later is better: it is averaged better.
        if self.best is None or sign * measured[name] >= sign * self.best[name]:
            self.best = measured
            self.save(trainer, pl_module, BEST_FILE, measured)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last, "validated_step": self.validated_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.last, self.validated_step = (state_dict[name] for name in ("best", "last", "validated_step"))

    def finish(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what validation has not written: the last weights, and "best" where nothing was measured."""
        if self.validated_step != trainer.global_step:
            self.last = {}
            self.save(trainer, pl_module, LAST_FILE, None)
            if self.best is None:
                self.save(trainer, pl_module, BEST_FILE, None)

    def save(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str, measured: dict[str, float] | None
    ) -> None:
        """Write a model file with what was measured of it."""
        assert isinstance(pl_module, TaskModule)
        if not trainer.is_global_zero:
            return
        provenance = {**self.description.provenance, "steps": trainer.global_step, "validation": measured}
        try:
            fixtures = make_fixtures(pl_module.network, self.description.preprocessing, self.fixtures)
        except WeightsError as error:  # of the last step, which no loss is computed after
            raise TrainingError(f"after step {trainer.global_step} {error}; {TAMER}") from None
        description = self.description.changed(provenance=provenance, fixtures=fixtures)
        save_model_file(self.out / name, pl_module.network.state_dict(), description)
