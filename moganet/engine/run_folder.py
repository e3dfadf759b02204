"""A run's folder: what lies in it, who may write there, and which run goes on in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from moganet.config import Recipe, load_recipe
from moganet.data import Dataset
from moganet.engine.checkpoints import CHECKPOINT_FILE, difference, is_first_process, read_fingerprint
from moganet.engine.interaction_record import CURVES_FILE
from moganet.engine.report import REPORT_FILE
from moganet.errors import ConfigError, OutputError
from moganet.notices import say

RECIPE_FILE, RESULT_FILE = "recipe.yaml", "result.json"  # the first and the last that a run writes
LOCK_FILE = ".lock"
# What a run leaves, and --overwrite removes.
RUN_OUTPUTS = (
    *(RECIPE_FILE, "metrics.csv", "hparams.yaml", "tensorboard", "curves.png", CURVES_FILE),
    *(CHECKPOINT_FILE, "best.safetensors", "last.safetensors", "evaluation-*", REPORT_FILE, RESULT_FILE),
)


def read_run(folder: Path) -> Recipe | None:
    """Read the recipe of a run that can go on or is finished, None where a run is to begin.

    Raises ConfigError where beginning would remove something: only a run that had not saved yet may begin anew.
    """
    has_recipe = (folder / RECIPE_FILE).is_file()
    if has_recipe and any((folder / name).is_file() for name in (CHECKPOINT_FILE, RESULT_FILE)):
        return load_recipe(folder / RECIPE_FILE)
    patterns = ("*.safetensors", "evaluation-*") if has_recipe else RUN_OUTPUTS
    found = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    if found and is_first_process():
        missing = CHECKPOINT_FILE if has_recipe else RECIPE_FILE
        raise ConfigError(
            f"{folder} holds {found[0]} but no {missing} to go on from; choose another --out, or --overwrite it"
        )
    return None


def same_run(folder: Path, old: Recipe, new: Recipe, dataset: Dataset, found: tuple[bool, bool]) -> Recipe:
    """Give the recipe to go on with, where it is the one that the run began with. Raises ConfigError where not."""
    if found[0]:  # by --find-lr, when the run began
        optimizer = new.optimizer.model_copy(update={"lr": old.optimizer.lr, "lr_per": old.optimizer.lr_per})
        new = new.model_copy(update={"optimizer": optimizer})
    if found[1]:
        new = new.model_copy(update={"data": new.data.model_copy(update={"batch_size": old.data.batch_size})})
    what = difference(old, new)
    if what is None and (folder / CHECKPOINT_FILE).is_file():
        what = _other_images(dataset, read_fingerprint(folder / CHECKPOINT_FILE))
    if what is not None:
        raise ConfigError(f"{folder} holds another run: {what}; go on with what it began with, or choose another --out")
    # A step's parts may have been made smaller, for want of memory.
    if old.num_processes == new.num_processes and old.data.batch_size < new.data.batch_size:
        data = new.data.model_copy(update={"batch_size": old.data.batch_size})
        trainer = new.trainer.model_copy(update={"accumulate": old.trainer.accumulate})
        new = new.model_copy(update={"data": data, "trainer": trainer})
    return new


def _other_images(dataset: Dataset, began_with: str | None) -> str | None:
    """Say how a data set differs from the one that a run began with, None where it is that one."""
    found = dataset.recognised(began_with) if began_with is not None else None
    if found == "names":
        say(
            f"the run began before the contents of images were remembered: those of {dataset.spec} are taken for the "
            "same by their file names only",
            doubtful=True,
        )
    if found is not None:
        return None
    return (
        f"the images or classes of {dataset.spec}, or their order, are not those that it began with, by their contents "
        "(put back what is missing, and as it was what was replaced)"
    )


def choose_folder(recipe: Recipe, out: str | Path | None, overwrite: bool) -> Path:
    """Give the folder of a new run. Raises ConfigError where a run lies in it already, unless `overwrite`."""
    if out is None:
        number = 1
        while (Path("runs") / f"{recipe.name}-{number}").exists():
            number += 1
        out = Path("runs") / f"{recipe.name}-{number}"
    folder = Path(out)
    if overwrite or not is_first_process():
        return folder
    if (folder / RECIPE_FILE).exists():
        raise ConfigError(f"{folder} already holds a run; --resume it, choose another --out, or --overwrite it")
    found = sorted(path.name for pattern in RUN_OUTPUTS for path in folder.glob(pattern))
    if found:
        raise ConfigError(f"{folder} holds {found[0]}, which a run would replace; choose another --out, or --overwrite")
    return folder


@contextmanager
def own_folder(folder: Path, *, keep: bool) -> Iterator[None]:
    """Make the run's folder and keep other runs out of it. Raises ConfigError where one is at work in it.

    The lock ends with the process, however that ends. Of several processes the first one takes it.
    """
    if not is_first_process():
        yield
        return
    _make_folder(folder)
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another process is training in {folder}; wait for it, or choose another --out") from None
    except (OSError, NotImplementedError):  # a file system without locks
        pass
    try:
        _clear_folder(folder, keep=keep)
        yield
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        lock.release()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None


def _clear_folder(folder: Path, *, keep: bool) -> None:
    """Remove what an older run left: nothing of it may be taken for the new one's.

    keep: the run in it goes on; only what a killed process was about to write is removed.
    """
    try:
        patterns = (".*.partial.*",) if keep else (".*.partial.*", *RUN_OUTPUTS)
        for path in [path for pattern in patterns for path in folder.glob(pattern)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise OutputError(f"can't clear the folder {folder}: {error.strerror}; choose another --out") from None
