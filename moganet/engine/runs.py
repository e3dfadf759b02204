"""`runs`: what was trained below a folder, and what became of it; without torch."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moganet.errors import ConfigError, OutputError, did_you_mean
from moganet.files import typed_path
from moganet.notices import noted
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result
from moganet.tasks import TASKS
from moganet.training.past import PastRun, describe_run, look_into

FOLDER = "runs"  # where training puts them
NEWEST = "updated"
COLUMNS = tuple(name for name in PastRun.model_fields if name not in ("folder", "reason"))


class Runs(Result):
    """The runs below a folder, in the order that was asked for, and the topmost folders below it that hold none."""

    folder: str
    sort: str
    runs: tuple[PastRun, ...]
    foreign: tuple[LeftOut, ...]


@noted
def runs(
    folder: str | Path = FOLDER, *, sort: str = NEWEST, reverse: bool = False, progress: Progress = no_progress
) -> Runs:
    """List the runs in a folder and below it, and say of each whether it runs, was stopped, failed, or is finished.

    A run is at work where a process of this machine holds its lock; one that was stopped or killed can go on; what
    files are missing or cut off is said of a damaged one.
    sort: a column, of which figures and times begin with the best and the newest, all else with the least; what is not
    known comes last. reverse: the other way round.
    Raises OutputError for what is no folder, ConfigError for a column that does not exist.
    """
    key = _order(sort)
    root = typed_path(folder)
    if not root.is_dir():
        what = "a file" if root.exists() else "not there; `moganet train` makes it"
        raise OutputError(f"the folder {folder} is {what}; give a folder that holds runs")
    looked = look_into(root)
    found = [describe_run(path, root) for path in progress(looked.runs, len(looked.runs), "runs")]
    newest_first = sort == NEWEST  # a text in the order of time
    known = sorted((run for run in found if run.get(sort) is not None), key=key, reverse=reverse != newest_first)
    foreign = [LeftOut(file=path.relative_to(root).as_posix(), reason=why) for path, why in looked.foreign.items()]
    unknown = [run for run in found if run.get(sort) is None]
    return Runs(folder=str(folder), sort=sort, runs=(*known, *unknown), foreign=tuple(foreign))


def _order(sort: str) -> Callable[[PastRun], Any]:
    """Give the key to sort runs by. Raises ConfigError for a column that does not exist."""
    if sort not in COLUMNS:
        like = did_you_mean(sort, COLUMNS, 0.5)
        raise ConfigError(f"there is no column {sort!r}; {like}choose one of {', '.join(COLUMNS)}")
    if sort == "best":
        return _by_figure
    return lambda run: _natural(run[sort])


def _by_figure(run: PastRun) -> tuple[float, Any]:
    best = math.inf if run.best is None or math.isnan(run.best) else run.best
    return best if best == math.inf else -TASKS[str(run.task)].monitor.sign * best, _natural(run.run)


def _natural(value: Any) -> Any:
    """Give a key in which trial-2 comes before trial-10."""
    if not isinstance(value, str):
        return value
    parts: Sequence[str] = re.split(r"(\d+)", value.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
