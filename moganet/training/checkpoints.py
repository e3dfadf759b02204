"""last.ckpt, the state from which a run goes on as if it had never stopped: written whole or not at all.

What is random is a function of the seed and the place in the run (moganet.data.order): no generator's state is kept.
Added to what Lightning keeps are the position in the data, a begun epoch's metrics, and the rows of metrics.csv.
"""

import json
import time
import zipfile
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from moganet.data.module import ImageDataModule
from moganet.errors import OutputError, WeightsError
from moganet.files import atomic_path
from moganet.inference import ModelDescription
from moganet.models.description import published
from moganet.models.formats.ours import RUN_KEY
from moganet.training.epoch_table import EpochTable
from moganet.training.run_folder import CHECKPOINT_FILE, LAST_FILE
from moganet.training.signals import Signals

State = dict[str, Any]  # of a whole run, as Lightning writes it


class Checkpoints(Checkpoint):  # Lightning puts callbacks of this class last: the averages are up to date by then
    """Save at each epoch's start, every few minutes, and when asked to stop; stop then, with all processes at once.

    A save within an epoch lies between two steps of the optimizer. minutes: the time between two of them.
    """

    def __init__(self, out: Path, description: ModelDescription, minutes: float, accumulate: int) -> None:
        self.out, self.description = out, description
        self.seconds, self.accumulate = 60 * minutes, accumulate
        self.saved, self.signals, self.kept = time.monotonic(), Signals(), ""
        self._at_epoch_start = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.state = "within"
        self.signals.take()  # again: Lightning's own would stop without a save
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
        self.signals.state, self.kept = "after", _saved(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.signals.state = "after"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.signals.take()  # all are here

    def _agree(self, trainer: pl.Trainer) -> tuple[bool, bool]:
        """Tell whether to stop and whether a save is due, the same on all processes."""
        stop, due = self.signals.received is not None, time.monotonic() - self.saved > self.seconds
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
            if (damaged := _damaged(temporary)) is not None:
                raise OutputError(f"{temporary} did not read back as it was written ({damaged}); check the disk")

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:
        description = published(self.description).model_dump(mode="json", exclude_none=True)
        checkpoint[RUN_KEY] = json.dumps(description)  # so that `load` takes it as a model; names may hold any bytes
        checkpoint["should_stop"] = trainer.should_stop
        table = _table(trainer)
        checkpoint["metrics.csv"] = "" if table is None else table.text
        if self._at_epoch_start:  # in the form of an epoch's end, which Lightning goes on from
            for progress in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
                progress["ready"] -= 1
                progress["completed"] -= 1

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: State) -> None:
        trainer.should_stop = checkpoint["should_stop"]
        if (table := _table(trainer)) is not None:
            table.text = checkpoint["metrics.csv"]
        was = checkpoint[type(_module(trainer)).__qualname__]["accumulate"]
        for progress in checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"].values():
            if isinstance(progress, dict):  # counts of batches, of which a step may now have another number
                added = progress["ready"] // was * self.accumulate - progress["ready"]
                progress.update({name: number + added for name, number in progress.items()})


def _saved(trainer: pl.Trainer) -> str:
    return f"the run is saved after {trainer.global_step} steps"


def _module(trainer: pl.Trainer) -> ImageDataModule:
    return cast(ImageDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def _damaged(path: Path) -> str | None:
    """Name the first member whose checksum is not that of its bytes; torch does not look."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _table(trainer: pl.Trainer) -> EpochTable | None:
    """Give what writes metrics.csv; only the first process has it."""
    return next((one for one in trainer.loggers if isinstance(one, EpochTable) and trainer.is_global_zero), None)


def state_of(path: Path) -> str:
    """Give what tells a checkpoint from others: its parts' checksums, as they stand beside them."""
    with zipfile.ZipFile(path) as archive:
        return " ".join(f"{part.CRC:08x}" for part in archive.infolist())


def read_step(path: Path) -> int:
    """Tell how many steps of the optimizer a run had done when it was saved."""
    return int(_read(path)["global_step"])


def read_fingerprint(path: Path) -> str | None:
    """Tell the fingerprint of the data that a run began with."""
    description = ModelDescription.model_validate(json.loads(_read(path)[RUN_KEY]))  # whose names may hold any bytes
    return description.provenance.get("fingerprint")


def _read(path: Path) -> State:
    """Read a checkpoint. Raises WeightsError for one that can't be read."""
    try:
        if (damaged := _damaged(path)) is not None:
            raise ValueError(f"its part {damaged} is not what was written")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch and zipfile raise errors of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        beside = path.with_name(LAST_FILE)
        start = f", with --from {beside} from its last whole weights" if beside.is_file() else ""
        raise WeightsError(f"{path} can't be read ({reason}); remove it to begin the run anew{start}") from None
