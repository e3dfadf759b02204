"""A run that is given more epochs than it began with, whether it was stopped or had come to its end.

The schedule's rule: from where it goes on, the learning rate is that of a run which was as long from its beginning. So
it rises again in one whose rate had come down; with a constant rate the end is that of the longer run, bit for bit.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from moganet.config import ResolvedRecipe
from moganet.errors import ConfigError
from moganet.files import write_text
from moganet.models.formats.ours import RUN_KEY
from moganet.notices import say
from moganet.tasks.module import TaskModule
from moganet.training.callbacks import ModelFiles
from moganet.training.checkpoints import Checkpoints
from moganet.training.run_folder import CHECKPOINT_FILE, EVALUATIONS, RECIPE_FILE, RESULT_FILE, entries
from moganet.training.signals import is_first_process

LENGTH, HISTORY = "trainer.max_epochs", "lengthened"  # the setting, and where a model file says what became of it


def refuse_shorter(old: ResolvedRecipe, new: ResolvedRecipe, folder: Path) -> None:
    """Raise ConfigError where a run in a folder can't go on to another number of epochs."""
    had, asked = old.trainer.max_epochs, new.trainer.max_epochs
    if asked < had:
        how = f"--epochs {had} goes on with it as it is, more make it longer"
        raise ConfigError(f"the run in {folder} has {had} epochs and can't be made shorter ({asked}); {how}")
    if old.trainer.max_steps is not None:
        ends = f"trainer.max_steps {old.trainer.max_steps} ends the run in {folder}, however many epochs it has"
        raise ConfigError(f"{ends}; leave the epochs as they are ({had}), or begin another run with --from {folder}")
    if not (folder / CHECKPOINT_FILE).is_file():
        lost = f"{folder} has no {CHECKPOINT_FILE} any more, from which the run would go on"
        raise ConfigError(f"{lost}; begin another run with --from {folder}")


def open_again(folder: Path, settings: ResolvedRecipe) -> None:
    """Let a folder hold a run that is not finished, with a longer recipe; what was trained stays."""
    if not is_first_process():
        return
    (folder / RESULT_FILE).unlink(missing_ok=True)  # first: a finished run of the new length would be left as it is
    write_text(folder / RECIPE_FILE, settings.to_yaml())
    if old := sorted(path.name for path in entries(folder, (EVALUATIONS,))):
        say(f"{', '.join(old)} in {folder} measured the weights of before; evaluate again when the run has ended")


class Length(pl.Callback):
    """Notice that the run of a checkpoint was shorter than this one, and let the rate, the early stop and the model
    files know; save the end of a run, from which a longer one would go on.

    Comes before the callback that averages weights, which puts them in place of the last ones at the end.
    """

    def __init__(self, files: ModelFiles, checkpoints: Checkpoints) -> None:
        self.files, self.checkpoints = files, checkpoints
        self.before: int | None = None  # the epochs that the checkpoint's run had, where this one has more

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        provenance = json.loads(checkpoint[RUN_KEY])["provenance"]
        history, before = list(provenance.get(HISTORY, ())), _epochs(provenance)
        if before is not None and before != trainer.max_epochs:
            self.before = before
            history.append({"epochs": before, "after_steps": checkpoint["global_step"]})
            checkpoint["lr_schedulers"] = []  # which would bring the shorter run's
            checkpoint["should_stop"] = False
            for name, state in checkpoint["callbacks"].items():
                if name.startswith("EarlyStopping"):
                    state.update(wait_count=0, stopped_epoch=0)
        if history:
            for keeper in (self.files, self.checkpoints):
                described = {**keeper.description.provenance, HISTORY: history}
                keeper.description = keeper.description.changed(provenance=described)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        if self.before is None:
            return
        was = pl_module.learning_rate
        pl_module.set_learning_rate()
        if trainer.is_global_zero:
            rate = f"{pl_module.learning_rate:.3g} now, where it was {was:.3g}"
            stop = "; the patience of trainer.early_stop begins anew" if trainer.early_stopping_callbacks else ""
            longer = f"lengthened from {self.before} to {trainer.max_epochs} epochs, after step {trainer.global_step}"
            say(f"{longer}: from here on the learning rate is that of a run so long from its beginning ({rate}){stop}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.checkpoints.save(trainer, trainer.current_epoch, 0)


def _epochs(provenance: Mapping[str, Any]) -> int | None:
    recipe = provenance.get("recipe")
    trainer = recipe.get("trainer") if isinstance(recipe, dict) else None
    epochs = trainer.get("max_epochs") if isinstance(trainer, dict) else None
    return epochs if isinstance(epochs, int) else None
