"""What a training gives, in Python and as result.json."""

import json
from collections.abc import Iterator
from pathlib import Path

from moganet.errors import ConfigError
from moganet.files import read_small, to_json, write_text
from moganet.numbers import count
from moganet.results import LeftOut, Record, Result
from moganet.tasks import TASKS
from moganet.training.run_folder import BEST_FILE, CURVES_FILE, LAST_FILE, METRICS_FILE, RESULT_FILE

RESULT_LIMIT = 100_000_000  # bytes; it names each file that could not be read


class Validated(Record, extra="allow"):
    """What validation after an epoch gave: the task's own figures by their names."""

    __pydantic_extra__: dict[str, float | None]
    epoch: int


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
    try:
        return TrainResult.model_validate(json.loads(read_small(folder / RESULT_FILE, RESULT_LIMIT, ConfigError)))
    except ConfigError:
        raise
    except (ValueError, RecursionError):
        what = f"{folder / RESULT_FILE} is not what a run writes"
        raise ConfigError(f"{what}; remove it, and the run is finished again") from None
