"""Several trainings of one recipe in one folder: where they lie, who may write there, and what they say together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from moganet.config import Recipe, parse_overrides, parse_yaml
from moganet.errors import ConfigError, OutputError
from moganet.files import to_json
from moganet.launchers import launched
from moganet.results import Metric, Record, Result
from moganet.tasks.judged import mean_interval
from moganet.training.run_folder import RECIPE_FILE, SERIES_LOCK, claim_folder, own_folder

PREDICTIONS_FILE, DOUBTFUL_FILE = "out-of-fold.csv", "doubtful.csv"
Overrides = Mapping[str, Any] | Sequence[str]


class Member(Record):
    """A run of several. best: the figure of its best weights in validation, after epoch `epoch`; error: why it failed.

    What it did not come to is None.
    """

    name: str
    out: str
    best: float | None = None
    epoch: int | None = None
    seconds: float | None = None
    error: str | None = None


class Series(Result):
    """What several runs of one recipe give together.

    metric: what `best` of each is, and `mean`, `deviation` (of the runs, n - 1) and `interval` (of the mean, 95 %, by
    Student's t) are of; None where too few runs came to their end. best: the name of the best run.
    """

    out: str
    metric: str
    runs: tuple[Member, ...]
    mean: float | None
    deviation: float | None
    interval: tuple[float, float] | None
    best: str | None
    seconds: float

    def say_mean(self, metric: Metric) -> str:
        """Say the mean and its interval in a line."""
        number = sum(run.best is not None for run in self.runs)
        if self.mean is None:
            return "no run came to its end"
        said = f"{metric.short} {metric.text(self.mean)}, the mean of {number} runs"
        if self.interval is None or self.deviation is None:
            return said
        return (
            f"{said} (95 % interval {metric.between(self.interval)}; standard deviation {metric.text(self.deviation)})"
        )


class OutOfFold(Record):
    """What all folds' answers are worth together. figure, interval: of the metric over all images, 95 %."""

    num_images: int
    figure: float | None
    interval: tuple[float, float] | None
    predictions: str
    unreadable: int

    def text(self, metric: Metric) -> str:
        """Say the figure and its interval."""
        if self.figure is None or self.interval is None:
            return f"{metric.short} can't be told"
        return f"{metric.short} {metric.text(self.figure)} (95 % interval {metric.between(self.interval)})"


class Doubtful(Record):
    """An image whose label looks wrong: what it is labelled, and what the model that did not see it says."""

    file: str
    fold: int
    label: str
    predicted: str


def summed(members: Sequence[Member], metric: Metric) -> dict[str, Any]:
    """Give what Series says of its runs."""
    known = [(one.best, one.name) for one in members if one.best is not None]
    values = [value for value, _ in known]
    return {
        "metric": metric.name,
        "runs": tuple(members),
        "mean": float(np.mean(values)) if values else None,
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "interval": _within(mean_interval(values), metric),
        "best": max(known, key=lambda one: metric.sign * one[0])[1] if known else None,
        "seconds": sum(one.seconds or 0.0 for one in members),
    }


def _within(interval: tuple[float, float] | None, metric: Metric) -> tuple[float, float] | None:
    if interval is None or not metric.share:
        return interval
    return max(0.0, interval[0]), min(1.0, interval[1])


def with_setting(overrides: Overrides, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give overrides with further settings, which replace those of the same name."""
    return {**parse_overrides(overrides), **settings}


def as_texts(overrides: Mapping[str, Any]) -> list[str]:
    """Give settings as "KEY=VALUE", as --set takes them."""
    return [f"{key}={_as_yaml(value)}" for key, value in overrides.items()]


def _as_yaml(value: Any) -> str:
    """Give a value as YAML, a text without quotes where it is read back as it is."""
    with suppress(ConfigError):
        if isinstance(value, str) and value.isprintable() and parse_yaml(value, "a setting") == value:
            return value
    return to_json(value)


def refuse_several(recipe: Recipe, what: str) -> None:
    """Raise ConfigError where several processes would train, of which each would begin all runs."""
    devices, nodes = launched() or (recipe.trainer.devices or 1, recipe.trainer.num_nodes or 1)
    if devices * nodes > 1:
        raise ConfigError(f"{what} trains in one process at a time; leave out torchrun, srun and trainer.devices")


@contextmanager
def own_series(out: str | Path | None, name: str, allowed: Sequence[str], *, goes_on: bool) -> Iterator[Path]:
    """Have the folder of several runs for oneself: a new one in runs/, or `out`, which holds them already or nothing.

    allowed: how the names of what lies in it begin. Raises ConfigError for a folder that holds anything else.
    """
    if out is None and goes_on:
        raise ConfigError("--resume needs the folder of all runs; say which with --out")
    folder = claim_folder(name) if out is None else Path(out)
    if out is not None and folder.is_dir():
        _check_contents(folder, allowed, goes_on=goes_on)
    with own_folder(folder, claimed=out is None, lock_file=SERIES_LOCK):
        yield folder


def _check_contents(folder: Path, allowed: Sequence[str], *, goes_on: bool) -> None:
    try:
        found = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        raise OutputError(f"can't look into {folder}: {error.strerror}; choose another --out") from None
    if RECIPE_FILE in found:
        raise ConfigError(f"{folder} holds a run of its own; choose another --out")
    if others := [name for name in found if not name.startswith(tuple(allowed))]:
        raise ConfigError(
            f"{folder} holds {others[0]}; nothing is replaced; choose another --out, empty or not there yet"
        )
    if found and not goes_on:
        raise ConfigError(f"{folder} already holds {found[0]}; --resume goes on with it, or choose another --out")
