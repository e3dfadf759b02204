"""A run's folder: what lies in it, and who may write there."""

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from moganet.errors import ConfigError, OutputError
from moganet.notices import say
from moganet.training.run_log import LOG_FILE

if TYPE_CHECKING:
    from moganet.data import Dataset
try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

RECIPE_FILE, RESULT_FILE = "recipe.yaml", "result.json"  # the first and the last that a run writes
CHECKPOINT_FILE, BEST_FILE, LAST_FILE = "last.ckpt", "best.safetensors", "last.safetensors"
METRICS_FILE, CURVES_FILE, INTERACTIONS_FILE = "metrics.csv", "curves.png", "interactions.csv"
REPORT_FILE, EVALUATIONS = "report.html", "evaluation-*"
FAILURE_FILE = "failure.json"  # of a run that can't go on as it is; one that was stopped or killed leaves none
SERIES_LOCK = ".series.lock"  # of a folder of several runs
LOCK_FILE, LOCK_WAIT = ".lock", 0.3  # seconds, in which `is_at_work` of another process has looked
RUN_OUTPUTS = (  # what a run leaves, and --overwrite removes
    *(RECIPE_FILE, LOG_FILE, METRICS_FILE, "hparams.yaml", "tensorboard", CURVES_FILE, INTERACTIONS_FILE),
    *(CHECKPOINT_FILE, BEST_FILE, LAST_FILE, EVALUATIONS, REPORT_FILE, RESULT_FILE, FAILURE_FILE),
)


def is_first_process() -> bool:
    """Tell whether this process writes, as training.signals does, which brings what trains."""
    from moganet.training import signals

    return signals.is_first_process()


def entries(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Give what lies in a folder under such names, links that lead nowhere among it."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if any(fnmatchcase(path.name, pattern) for pattern in patterns)]


def folder_name(name: str) -> str:
    """Give a recipe's name as a folder's."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60] or "run"


def claim_folder(name: str) -> Path:
    """Make runs/NAME-N, the first that is not there yet; so runs that begin at once have folders of their own."""
    stem = folder_name(name)
    for number in itertools.count(1):
        folder = Path("runs") / f"{stem}-{number}"
        if not is_first_process():
            return folder  # it writes nothing
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if folder.parent.is_dir():
                continue
            raise OutputError(f"{folder.parent} is no folder; choose another place with --out") from None
        except OSError as error:
            raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None
        return folder
    raise AssertionError


def refuse_full(folder: Path, *, overwrite: bool) -> None:
    """Raise ConfigError for a folder that holds what is no run's, or a run that may not be replaced (`overwrite`)."""
    if not is_first_process() or not folder.is_dir():
        return
    try:
        ours = {path.name for path in entries(folder, RUN_OUTPUTS)}
        others = sorted(path.name for path in folder.iterdir() if path.name not in ours and path.name[0] != ".")
    except OSError as error:
        raise OutputError(f"can't look into {folder}: {error.strerror}; choose another --out") from None
    if (folder / RECIPE_FILE).is_file():
        if not overwrite:
            raise ConfigError(
                f"{folder} already holds a run; --resume it (resume=True), choose another --out, or "
                "--overwrite it (overwrite=True)"
            )
        if others:
            say(f"{folder} keeps what is no training's: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}")
    elif found := [*sorted(ours), *others]:
        what = f"{folder} holds {found[0]}{' and more' if len(found) > 1 else ''}, but no run"
        raise ConfigError(f"{what}; nothing is replaced; choose another --out, empty or not there yet")


def say_inside(folder: Path, dataset: "Dataset") -> None:
    """Say that a run's folder lies among the images that it learns from."""
    from moganet.data import FileSplit

    split = dataset.split("train")
    if not isinstance(split, FileSplit) or not len(split):
        return
    # The common folder of all images; of a single class's only where there is one.
    places = {str(file.absolute().parent) for file in split.files if isinstance(file, Path)}
    if places and folder.resolve().is_relative_to(Path(os.path.commonpath(places)).resolve()):
        say(f"{folder} lies among the images of {dataset.spec}; choose another place by --out", doubtful=True)


@contextmanager
def own_folder(folder: Path, *, claimed: bool = False, lock_file: str = LOCK_FILE) -> Iterator[None]:
    """Make a run's folder and keep other runs out of it; what begins and fails before it writes leaves none behind.

    claimed: it was made by `claim_folder`. lock_file: another name for a folder of several runs. The lock ends with
    the process, however that ends; of several processes the first one takes it. Raises ConfigError where a run is at
    work in it.
    """
    if not is_first_process():
        yield
        return
    made = [folder, folder.parent] if claimed else _make_folder(folder)
    lock = FileLock(folder / lock_file, timeout=LOCK_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another process is training in {folder}; wait for it, or choose another --out") from None
    except (OSError, NotImplementedError):  # a file system without locks, or one that is read-only
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / lock_file).unlink(missing_ok=True)
        lock.release()
        for place in made:  # only where they are empty
            with suppress(OSError):
                place.rmdir()


def is_at_work(folder: Path) -> bool:
    """Tell whether a process of this machine trains in a folder, by its lock, which is left as it is."""
    path = folder / LOCK_FILE
    try:
        if not path.is_file():
            return False
        if fcntl is None:  # on Windows
            with FileLock(path, timeout=0):
                return False
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except (Timeout, BlockingIOError):
        return True
    except (OSError, NotImplementedError):  # a file system without locks
        return False


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; give what was made, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return missing
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None


def clear_folder(folder: Path, *, keep: bool) -> None:
    """Remove what an older run left: nothing of it may be taken for the new one's. A link goes, not what it names.

    keep: the run in it goes on; only what a killed process was about to write is removed.
    """
    if not is_first_process():
        return
    patterns = (".*.partial.*", FAILURE_FILE) if keep else (".*.partial.*", *RUN_OUTPUTS)
    try:
        found = entries(folder, patterns)
        odd = [path for path in entries(folder, RUN_OUTPUTS) if not (path.is_file() or path.is_dir())]
        if keep and odd:  # a pipe would be waited for
            raise OutputError(f"{odd[0]} is no file that a run writes (a pipe, a device, a broken link); remove it")
        for path in sorted(found, key=lambda path: path.name == RECIPE_FILE):  # by which a run is known: the last
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise OutputError(f"can't clear the folder {folder}: {error.strerror or error}; choose another --out") from None
