"""Which run goes on in a folder, and whether it is the one that is asked for."""

from pathlib import Path

from moganet.config import ResolvedRecipe, flat
from moganet.data import Dataset
from moganet.errors import ConfigError
from moganet.notices import say
from moganet.training.checkpoints import read_fingerprint
from moganet.training.lengthen import LENGTH, refuse_shorter
from moganet.training.resolve import read_resolved
from moganet.training.run_folder import CHECKPOINT_FILE, EVALUATIONS, RECIPE_FILE, RESULT_FILE, RUN_OUTPUTS, entries
from moganet.training.signals import is_first_process

# Settings that may change while a run is stopped: they do not change what it computes.
FREE_SETTINGS = (
    *("logger", "report", "data.source", "data.workers", "data.batch_size", "trainer.accumulate", "trainer.save_every"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.interactions_every"),
)


def read_run(folder: Path) -> ResolvedRecipe | None:
    """Read the recipe of a run that can go on or is finished; None where one is to begin, which may remove nothing."""
    has_recipe = (folder / RECIPE_FILE).is_file()
    if has_recipe and any((folder / name).is_file() for name in (CHECKPOINT_FILE, RESULT_FILE)):
        return read_resolved(folder / RECIPE_FILE)
    patterns = ("*.safetensors", EVALUATIONS) if has_recipe else RUN_OUTPUTS
    found = sorted(path.name for path in entries(folder, patterns))
    if found and is_first_process():
        what = f"{folder} holds {found[0]} but no {CHECKPOINT_FILE if has_recipe else RECIPE_FILE} to go on from"
        raise ConfigError(f"{what}; choose another --out, or --overwrite it")
    return None


def same_run(
    folder: Path, old: ResolvedRecipe, new: ResolvedRecipe, dataset: Dataset, *, found_batch: bool, longer: bool
) -> ResolvedRecipe:
    """Give the recipe to go on with, where it is the one that the run began with. Raises ConfigError where not.

    found_batch: --find-batch chose the batch size, when the run began. longer: the call itself asks
    for a number of epochs, which may be a larger one.
    """
    if found_batch:
        new = new.changed(data=new.data.changed(batch_size=old.data.batch_size))
    if longer and new.trainer.max_epochs != old.trainer.max_epochs:
        refuse_shorter(old, new, folder)
    what = _difference(old, new, longer=longer)
    if what is None and (folder / CHECKPOINT_FILE).is_file():
        what = _other_images(dataset, read_fingerprint(folder / CHECKPOINT_FILE))
    if what is not None:
        raise ConfigError(f"{folder} holds another run: {what}; go on with what it began with, or choose another --out")
    # A step's parts may have been made smaller, for want of memory.
    if old.num_processes == new.num_processes and old.data.batch_size < new.data.batch_size:
        data = new.data.changed(batch_size=old.data.batch_size)
        trainer = new.trainer.changed(accumulate=old.trainer.accumulate)
        new = new.changed(data=data, trainer=trainer)
    return new


def _other_images(dataset: Dataset, began_with: str | None) -> str | None:
    """Say how a data set differs from the one that a run began with, None where it is that one."""
    found = dataset.recognised(began_with) if began_with is not None else None
    if found is None:
        what = f"the images or classes of {dataset.spec}, or their order, are not those that it began with"
        return f"{what}, by their contents (put back what is missing, and as it was what was replaced)"
    if found == "targets":
        what = f"the images of {dataset.spec} change each time they are read, so that"
        say(f"{what} they are taken for those that the run began with by their targets only")
    if found == "names":
        what = "the run began before the contents of images were remembered"
        say(f"{what}: those of {dataset.spec} are taken for the same by their file names only", doubtful=True)
    return None


def _difference(old: ResolvedRecipe, new: ResolvedRecipe, *, longer: bool) -> str | None:
    """Name the first setting in which two resolved recipes would compute something else, with both values."""
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    for name in before:
        if name not in FREE_SETTINGS and before[name] != after.get(name) and not (longer and name == LENGTH):
            how = f" (--epochs {before[name]} says so)" if name == LENGTH else ""
            return f"{name} is {before[name]!r} there and {after.get(name)!r} here{how}"
    if old.images_a_step != new.images_a_step:
        of = "data.batch_size, trainer.accumulate, trainer.devices"
        return f"a step takes {old.images_a_step} images there and {new.images_a_step} here ({of})"
    return None
