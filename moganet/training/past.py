"""Runs on disk: where they lie below a folder, what became of each, and what its files say; without torch."""

import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from moganet.config import Recipe
from moganet.errors import MogaNetError, first_line
from moganet.models.provenance import without_place
from moganet.models.reading.header import is_whole
from moganet.notices import say
from moganet.results import Metric, Record
from moganet.tasks.recipes import load_recipe, task_of
from moganet.training.origin import read_metrics
from moganet.training.outcome import TrainResult, read_failure, read_result
from moganet.training.run_folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    LAST_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    RESULT_FILE,
    RUN_OUTPUTS,
    entries,
    is_at_work,
)

State = Literal["running", "stopped", "failed", "finished", "damaged"]
WEIGHTS = (BEST_FILE, LAST_FILE)
INSIDE = ("tensorboard",)  # folders of a run in which no other run lies, beside those of evaluations


class PastRun(Record):
    """What is known of a run. What its files do not say is None, and no key of it.

    run: its place below the folder that was looked into. reason: why it failed, or what of it is damaged. data: as
    the recipe has it, without places. size: of images, height and width. epochs, of_epochs: done, and asked for.
    metric: what the best weights are chosen by, and `best` its value in validation, after epoch `best_epoch`.
    seconds: without those in which it was stopped. updated: when a file of it was written last (UTC). bytes: of all.
    """

    run: str
    folder: str
    state: State
    reason: str | None = None
    recipe: str | None = None
    task: str | None = None
    network: str | None = None
    data: str | None = None
    size: tuple[int, int] | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int | None = None
    epochs: int | None = None
    of_epochs: int | None = None
    metric: str | None = None
    best: float | None = None
    best_epoch: int | None = None
    loss: float | None = None
    seconds: float | None = None
    updated: str
    bytes: int


@dataclass(frozen=True)
class Looked:
    """What lies below a folder: runs, and the topmost folders without one, each with what is in it."""

    runs: list[Path]
    foreign: dict[Path, str]


def look_into(folder: Path, seen: frozenset[str] = frozenset()) -> Looked:
    """Find runs in a folder, in itself and below; links are followed, in circles not. What can't be read is said."""
    try:
        seen |= {os.path.realpath(folder)}
        with os.scandir(folder) as found:
            every = sorted(found, key=lambda entry: entry.name)
        folders = [Path(entry.path) for entry in every if entry.name[0] != "." and entry.is_dir()]
    except OSError as error:
        say(f"{folder} can't be looked into: {error.strerror}", doubtful=True)
        return Looked([], {folder: f"it can't be looked into: {error.strerror}"})
    is_run = is_run_folder(folder, {entry.name for entry in every})
    if is_run:
        folders = [inner for inner in folders if inner.name not in INSIDE and not inner.name.startswith("evaluation-")]
    looked = [(inner, look_into(inner, seen)) for inner in folders if os.path.realpath(inner) not in seen]
    runs = [folder] * is_run + [run for _, below in looked for run in below.runs]
    foreign = {place: what for _, below in looked for place, what in below.foreign.items()}
    foreign |= {inner: _holds(inner) for inner, below in looked if not below.runs and inner not in foreign}
    return Looked(runs, {} if is_run else foreign) if runs else Looked([], {})


def is_run_folder(folder: Path, names: set[str]) -> bool:
    """Tell whether a folder is one of a run, whole or damaged, by the names in it; one that only begins is locked."""
    ours = names & {*RUN_OUTPUTS}
    if RECIPE_FILE in ours:
        return len(ours) > 1 or _recipe(folder)[0] is not None or is_at_work(folder)
    return (len(ours) > 1 and bool(ours & {*WEIGHTS})) or is_at_work(folder)


def _holds(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"it can't be looked into: {error.strerror}"
    if not names:
        return "it is empty"
    if RECIPE_FILE in names and (why := _recipe(folder)[1]):
        return f"its {RECIPE_FILE} is no run's: {why}"
    return f"it holds {names[0]}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}"


def describe_run(folder: Path, root: Path) -> PastRun:
    """Say what became of a run, and what is known of it."""
    recipe, damage = _recipe(folder)
    result, failure, wrong = _outcome(folder)
    metrics, unread = _metrics(folder)
    damage = damage or wrong or unread or _lost(folder, result)
    state: State = "stopped"
    if is_at_work(folder):
        state, damage = "running", None
    elif damage:
        state = "damaged"
    elif result is not None:
        state = "finished"
    elif failure:
        state = "failed"
    stats = [path.stat() for path in _files(folder)]
    reason = damage or (failure if state == "failed" else None)
    known: dict[str, Any] = {} if reason is None else {"reason": reason}
    known |= {} if recipe is None else _of_recipe(recipe) | _of_figures(task_of(recipe).monitor, metrics, result)
    return PastRun(
        run="." if folder == root else folder.relative_to(root).as_posix(),
        folder=str(folder),
        state=state,
        updated=datetime.fromtimestamp(int(max((s.st_mtime for s in stats), default=time.time())), UTC).isoformat(),
        bytes=sum(s.st_size for s in stats),
        **known,
    )


def _files(folder: Path) -> Iterator[Path]:
    for path in entries(folder, RUN_OUTPUTS):
        inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        yield from (file for file in inner if file.is_file())


def _recipe(folder: Path) -> tuple[Recipe | None, str | None]:
    """Give a run's recipe, or what is wrong with it."""
    path = folder / RECIPE_FILE
    if not path.is_file():
        return None, f"{RECIPE_FILE} is missing"
    try:
        return load_recipe(path), None
    except MogaNetError as error:
        return None, first_line(error).replace(str(path), RECIPE_FILE)


def _outcome(folder: Path) -> tuple[TrainResult | None, str | None, str | None]:
    """Give what a run gave, or why it failed, or what is wrong with the file that says so."""
    try:
        failure = read_failure(folder)
        result = read_result(folder) if (folder / RESULT_FILE).is_file() else None
        return result, failure.error if failure else None, None
    except MogaNetError as error:
        return None, None, first_line(error).replace(f"{folder}{os.sep}", "")


def _metrics(folder: Path) -> tuple[Mapping[str, Mapping[float, float]], str | None]:
    path = folder / METRICS_FILE
    try:
        return read_metrics(path) if path.is_file() else {}, None
    except (MogaNetError, ValueError, OverflowError) as error:
        return {}, f"{METRICS_FILE} can't be read: {first_line(error).replace(str(path), 'it')}"


def _lost(folder: Path, result: TrainResult | None) -> str | None:
    """Say which file a run lacks, or has in part only."""
    weights = [folder / name for name in WEIGHTS if (folder / name).exists()]
    if torn := [path.name for path in weights if not is_whole(path)]:
        return f"{torn[0]} is no whole safetensors file"
    if result is not None:
        return None if (folder / BEST_FILE).is_file() else f"{BEST_FILE} is missing"
    checkpoint = folder / CHECKPOINT_FILE
    if not checkpoint.is_file():  # which is written before the first step
        return f"{CHECKPOINT_FILE} is missing, so that it can't go on" if weights else None
    return None if zipfile.is_zipfile(checkpoint) else f"{CHECKPOINT_FILE} is no whole checkpoint"


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "task": recipe.task.name,
        "network": recipe.network.name,
        "data": without_place(recipe.data.source),
        "size": recipe.preprocessing.size,
        "batch_size": recipe.data.batch_size,
        "lr": recipe.optimizer.lr,
        "seed": recipe.seed,
        "of_epochs": recipe.trainer.max_epochs,
    }


def _of_figures(
    monitor: Metric, metrics: Mapping[str, Mapping[float, float]], result: TrainResult | None
) -> dict[str, Any]:
    """Give what a run reached: as its result says, or its metrics where it has none yet."""
    done = max((int(epoch) + 1 for values in metrics.values() for epoch in values), default=0)
    known: dict[str, Any] = {"metric": monitor.name, "epochs": done}
    validated = {epoch: value for epoch, value in metrics.get(f"val/{monitor.name}", {}).items() if value == value}
    if validated:
        epoch, best = max(validated.items(), key=lambda point: (monitor.sign * point[1], point[0]))
        loss = metrics.get("val/loss", {}).get(epoch)
        known |= {"best": best, "best_epoch": int(epoch) + 1, "loss": loss}
    if result is None:
        return known
    known |= {"epochs": result.epochs, "seconds": result.seconds}
    if result.best is not None:
        best = result.best.get(monitor.name)
        known |= {"best": best, "best_epoch": result.best.epoch, "loss": result.best.get("loss")}
    return known
