"""Lightning's finder of a batch size, as `moganet train --find-batch`."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.tuner import Tuner  # type: ignore[attr-defined]

from moganet.config import ResolvedRecipe
from moganet.data import Dataset
from moganet.notices import say
from moganet.training.assemble import build_module, build_task, make_trainer
from moganet.training.draws import own_draws

MAX_BATCH_TRIALS = 10  # doublings, from 16


@own_draws()
def find_batch_size(recipe: ResolvedRecipe, dataset: Dataset) -> ResolvedRecipe:
    """Choose the largest power of two for data.batch_size that fits memory and the set; give the changed recipe."""
    largest = 1 << (len(dataset.split("train")).bit_length() - 1)
    first = min(16, largest)
    data, start = (
        recipe.data.changed(batch_size=first),
        recipe.start.changed(freeze_epochs=0),
    )  # which takes less memory
    small = recipe.changed(data=data, start=start)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # none is validated with
        # The finder restores the network from a checkpoint in the folder.
        trainer = make_trainer(small, Path(folder), max_epochs=1, logger=False, limit_val_batches=0)
        with _memory_limit(trainer):
            task, module = build_task(small, dataset), build_module(small, dataset)
            found = Tuner(trainer).scale_batch_size(
                task, datamodule=module, init_val=first, max_trials=MAX_BATCH_TRIALS, steps_per_trial=1
            )
    size = min(int(found or 16), largest)
    say(f"found the batch size {size} (the recipe has {recipe.data.batch_size})")
    return recipe.changed(data=recipe.data.changed(batch_size=size))


@contextmanager
def _memory_limit(trainer: pl.Trainer) -> Iterator[None]:
    """On a CPU let a batch that is too large fail as an allocation, before the system kills the process."""
    if trainer.strategy.root_device.type != "cpu" or os.name != "posix":
        yield
        return
    import resource

    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * page
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(0.9 * os.sysconf("SC_AVPHYS_PAGES") * page), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
