"""last.ckpt, the state from which a run goes on as if it had never stopped: written whole or not at all.

What is random is a function of the seed and the place in the run (moganet.data.order), so no generator's state is
kept. Lightning keeps weights, averages, optimizer, schedule and loops; added here are the position in the data, the
metrics of a begun epoch, and the rows of metrics.csv.
"""

import csv
import io
import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from moganet.compat import logged_steps
from moganet.config import Recipe
from moganet.data.module import ImageDataModule
from moganet.errors import OutputError, WeightsError
from moganet.files import atomic_path
from moganet.inference import ModelDescription
from moganet.launchers import by_torchrun
from moganet.models.formats import RUN_KEY
from moganet.models.model_file import published
from moganet.notices import say

CHECKPOINT_FILE = "last.ckpt"
SPEAK = 5.0  # seconds in which one of several processes says why it ends, before a launcher's SIGTERM ends it
PROCESSES_WAIT = timedelta(minutes=10)  # of several processes for each other, at the beginning and within the run
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Ctrl-C, a launcher, a terminal that is closed
# Settings that may change while a run is stopped: they do not change what it computes.
FREE_SETTINGS = (
    *("logger", "report", "data.source", "data.workers", "data.batch_size", "trainer.accumulate", "trainer.save_every"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.interactions_every"),
)


class RunStopped(KeyboardInterrupt):
    """A run was asked to stop (Ctrl-C, SIGTERM, SIGHUP); its text is one line that says what was kept."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Checkpoints(Checkpoint):  # Lightning puts callbacks of this class last: the averages are up to date by then
    """Save at each epoch's start, every few minutes, and when asked to stop; stop then, with all processes at once.

    A save within an epoch lies between two steps of the optimizer. minutes: the time between two of them.
    """

    def __init__(self, out: Path, description: ModelDescription, minutes: float, accumulate: int) -> None:
        self.out, self.description = out, description
        self.seconds, self.accumulate = 60 * minutes, accumulate
        self.saved = time.monotonic()
        self.signal: signal.Signals | None = None
        self.kept = ""
        self._at_epoch_start = False
        self._state = "before"  # the first step; then "within" the steps, and "after" them, whatever ended them
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._state = "within"
        self.take_signals()  # again: Lightning's own would stop without a save
        if trainer.global_step == 0 and _module(trainer).position == (0, 0):
            self.save(trainer, 0, 0)  # there is always a state from before what may go wrong

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch before, now that all of its metrics are written."""
        if trainer.current_epoch:
            self._at_epoch_start = True
            self.save(trainer, trainer.current_epoch, 0)
            self._at_epoch_start = False
        if self._agree(trainer)[0]:
            self._stop(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        # The end of an epoch is its own case, and so is that of the run.
        last = done >= trainer.num_training_batches or trainer.global_step >= trainer.max_steps > 0
        if done % self.accumulate or last:
            return
        stop, due = self._agree(trainer)
        if stop or due:
            self.save(trainer, trainer.current_epoch, done // self.accumulate)
        if stop:
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer, trainer.current_epoch, 0)
        self._state, self.kept = "after", _saved(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._state = "after"

    def take_signals(self) -> None:
        """Have the signals that stop until `restore_signals`: a launcher's SIGTERM must not cut short what is said."""
        if in_main_thread():
            for number in STOP_SIGNALS:
                if number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup
                self._handlers.setdefault(number, signal.getsignal(number))
                signal.signal(number, self._on_signal)

    def await_others(self, trainer: pl.Trainer) -> None:
        """Say that the other processes are waited for, and let a signal end that at once: no handler runs meanwhile."""
        if is_first_process():
            say(
                f"waiting for the other processes of {trainer.world_size}, {PROCESSES_WAIT.seconds} s at the most; "
                "torchrun, srun or trainer.devices starts them"
            )
        if in_main_thread():
            self._handlers.setdefault(signal.SIGINT, signal.getsignal(signal.SIGINT))
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.take_signals()  # all are here

    @contextmanager
    def holding_signals(self, trainer: pl.Trainer) -> Iterator[None]:
        """Have the signals while a run goes on; where it fails beside others, its process has a moment to say why."""
        several = trainer.world_size > 1
        self.await_others(trainer) if several else self.take_signals()
        try:
            yield
        except BaseException:
            # A launcher ends the others of a job within a tenth of a second of one's end.
            if several and self._handlers.get(signal.SIGTERM) == signal.SIG_DFL:
                self._handlers[signal.SIGTERM] = _end_later
            raise
        finally:
            self.restore_signals()

    def restore_signals(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by other than Python
        self._handlers = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, signal.Signals(number)
        # A launcher may pass on to each process what reached all of them.
        passed_on = number != signal.SIGINT and by_torchrun()
        if self._state == "before" or (again and not passed_on):
            raise KeyboardInterrupt
        if self._state == "within" and is_first_process():  # not by print, which a signal may have interrupted
            os.write(
                2,
                b"\nmoganet: saving after this step (after validation, if that runs); a second signal stops at once\n",
            )

    def _agree(self, trainer: pl.Trainer) -> tuple[bool, bool]:
        """Tell whether to stop and whether a save is due, the same on all processes."""
        stop, due = self.signal is not None, time.monotonic() - self.saved > self.seconds
        if trainer.world_size > 1:
            flags = torch.tensor([stop, due], dtype=torch.int32, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
            stop, due = (bool(flag) for flag in flags.tolist())
        return stop, due

    def _stop(self, trainer: pl.Trainer) -> None:
        self.kept = _saved(trainer)
        raise KeyboardInterrupt

    def save(self, trainer: pl.Trainer, epoch: int, step: int) -> None:
        """Write last.ckpt for a run that has done `step` steps of an epoch; the old one stays until this is whole."""
        _module(trainer).position = epoch, step
        path, self.saved = self.out / CHECKPOINT_FILE, time.monotonic()
        if not trainer.is_global_zero:
            trainer.save_checkpoint(path, weights_only=False)  # takes part; only the first process writes
            return
        with atomic_path(path) as temporary:
            trainer.save_checkpoint(temporary, weights_only=False)  # ours to read: it holds optimizer and loops
            _verify(temporary)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        description = published(self.description).model_dump(mode="json", exclude_none=True)
        checkpoint[RUN_KEY] = json.dumps(description)  # so that `load` takes it as a model; names may hold any bytes
        checkpoint["should_stop"] = trainer.should_stop
        checkpoint["metrics.csv"] = _rows(trainer, self._at_epoch_start)
        if self._at_epoch_start:  # in the form of an epoch's end, which Lightning goes on from
            for progress in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
                progress["ready"] -= 1
                progress["completed"] -= 1

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        trainer.should_stop = checkpoint["should_stop"]
        _restore_rows(trainer, checkpoint["metrics.csv"])
        was = checkpoint[type(_module(trainer)).__qualname__]["accumulate"]
        for progress in checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"].values():
            if isinstance(progress, dict):  # counts of batches, of which a step may now have another number
                added = progress["ready"] // was * self.accumulate - progress["ready"]
                progress.update({name: number + added for name, number in progress.items()})


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    timer = threading.Timer(SPEAK, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def in_main_thread() -> bool:
    """Tell whether signals can be handled here."""
    return threading.current_thread() is threading.main_thread()


def is_first_process() -> bool:
    """Tell whether this is the process that writes; torchrun, SLURM and Lightning say so in the environment."""
    return not getattr(rank_zero_only, "rank", 0)


def _saved(trainer: pl.Trainer) -> str:
    return f"the run is saved after {trainer.global_step} steps"


def _module(trainer: pl.Trainer) -> ImageDataModule:
    module = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, ImageDataModule)
    return module


def _verify(path: Path) -> None:
    """Read back what was written: each of the archive's members carries a checksum."""
    if (damaged := _damaged(path)) is not None:
        raise OutputError(f"{path} did not read back as it was written ({damaged}); check the disk")


def _damaged(path: Path) -> str | None:
    """Name the first member whose checksum is not that of its bytes; torch does not look."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _csv_logger(trainer: pl.Trainer) -> CSVLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, CSVLogger)), None)


def _rows(trainer: pl.Trainer, at_epoch_start: bool) -> str:
    """Give metrics.csv as it stands; an epoch that only starts writes its first row again when the run goes on."""
    logger = _csv_logger(trainer)
    if logger is None or not trainer.is_global_zero:
        return ""
    logger.save()
    path = Path(logger.log_dir) / "metrics.csv"
    if not path.is_file():
        return ""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if not at_epoch_start:
        return text
    rows = list(csv.DictReader(io.StringIO(text)))
    kept = io.StringIO()
    writer = csv.DictWriter(kept, rows[0].keys() if rows else ())
    writer.writeheader()
    writer.writerows(row for row in rows if int(row["step"]) < logged_steps(trainer))
    return kept.getvalue()


def _restore_rows(trainer: pl.Trainer, text: str) -> None:
    logger = _csv_logger(trainer)
    if logger is None or not text or not trainer.is_global_zero:
        return
    with atomic_path(Path(logger.log_dir) / "metrics.csv") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    logger.experiment.metrics_keys = next(csv.reader(io.StringIO(text)))


def read_step(path: Path) -> int:
    """Tell how many steps of the optimizer a run had done when it was saved."""
    return int(_read(path)["global_step"])


def read_fingerprint(path: Path) -> str | None:
    """Tell the fingerprint of the data that a run began with."""
    description = ModelDescription.model_validate(json.loads(_read(path)[RUN_KEY]))
    return description.provenance.get("fingerprint")


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises WeightsError for one that can't be read."""
    try:
        if (damaged := _damaged(path)) is not None:
            raise ValueError(f"its part {damaged} is not what was written")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and zipfile raise errors of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        beside = path.with_name("last.safetensors")
        start = f", with --from {beside} from its last whole weights" if beside.is_file() else ""
        raise WeightsError(f"{path} can't be read ({reason}); remove it to begin the run anew{start}") from None


def difference(old: Recipe, new: Recipe) -> str | None:
    """Name the first setting in which two resolved recipes would compute something else, with both values."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    for name in before:
        if name not in FREE_SETTINGS and before[name] != after.get(name):
            return f"{name} is {before[name]!r} there and {after.get(name)!r} here"
    if old.images_a_step != new.images_a_step:
        return (
            f"a step takes {old.images_a_step} images there and {new.images_a_step} here "
            "(data.batch_size, trainer.accumulate, trainer.devices)"
        )
    return None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
