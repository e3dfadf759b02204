"""What a training gives, in Python and as result.json."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from moganet.errors import ConfigError, OutputError, first_line
from moganet.files import read_small, to_json, write_text
from moganet.numbers import count
from moganet.results import LeftOut, Record, Result
from moganet.tasks import TASKS
from moganet.training.run_folder import (
    BEST_FILE,
    CURVES_FILE,
    FAILURE_FILE,
    LAST_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    RESULT_FILE,
)

Written = TypeVar("Written", bound=Record)
RESULT_LIMIT = 100_000_000  # bytes; it names each file that could not be read


class Validated(Record, extra="allow"):
    """What validation after an epoch gave: the task's own figures by their names."""

    __pydantic_extra__: dict[str, float | None]
    epoch: int


class Failure(Record):
    """Why a run failed, in a line. kind: the error's."""

    error: str
    kind: str


class TrainResult(Result):
    """What a training gives, and its folder keeps.

    out: the run's folder. seconds: without those in which it was stopped. images_per_second: of training alone.
    best, last: what validation gave; None where it gave nothing. report: the page, None where it could not be written.
    """

    out: str
    epochs: int
    steps: int
    seconds: float
    images_per_second: float
    train_loss: float | None
    best: Validated | None
    last: Validated | None
    unreadable: tuple[LeftOut, ...]
    report: str | None = None

    def pictures(self) -> tuple[Path, ...]:
        """Give the curves."""
        return (Path(self.out) / CURVES_FILE,)

    def lines(self) -> Iterator[str]:
        """Say how it went, a line each."""
        yield f"trained {count(self.epochs, 'epoch')} ({count(self.steps, 'step')}) in {self.seconds:.0f} s"
        monitors = {task.monitor.name: task.monitor for task in TASKS.values()}
        best = self.best or Validated(epoch=0)
        for name, figure in best.items():
            if name in monitors and figure is not None:
                said = monitors[name].text(figure)
                yield f"best validation {monitors[name].short}: {said} after epoch {best.epoch}"
        yield f"results: {self.out} ({', '.join((BEST_FILE, LAST_FILE, CURVES_FILE, METRICS_FILE))})"
        if self.report:
            yield f"how good it is, and where it fails: {self.report}"


def write_result(result: TrainResult) -> None:
    """Write what a run gave into its folder."""
    write_text(Path(result.out) / RESULT_FILE, to_json(result))


def read_result(folder: Path) -> TrainResult:
    """Read what a finished run gave. Raises ConfigError for a file that no run wrote."""
    return _read(folder / RESULT_FILE, TrainResult, "remove it, and the run is finished again")


def _read(path: Path, kind: type[Written], remedy: str) -> Written:
    try:
        return kind.model_validate(json.loads(read_small(path, RESULT_LIMIT, ConfigError)))
    except ConfigError:
        raise
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not what a run writes; {remedy}") from None


@contextmanager
def failures_written(folder: Path, *, but: type[Exception]) -> Iterator[None]:
    """Leave a line in a run's folder on what ends it, but for a stop and for errors after which it is tried again."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, but) and (folder / RECIPE_FILE).is_file():
            with suppress(OutputError):  # on a full disk
                failure = Failure(error=first_line(error), kind=type(error).__name__)
                write_text(folder / FAILURE_FILE, to_json(failure))
        raise


def read_failure(folder: Path) -> Failure | None:
    """Read why a run failed, None where it did not. Raises ConfigError for a file that no run wrote."""
    path = folder / FAILURE_FILE
    return _read(path, Failure, "remove it") if path.is_file() else None
