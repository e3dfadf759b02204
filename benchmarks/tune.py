"""How long `moganet tune` takes on the digits, and how much of that is not training; writes tune.json beside this file.

The same recipe is trained once alone, and by a search of a few trials whose settings cost the same. What the search
adds to a trial is the whole time less the trainings' own; what the pruner saves are the epochs that were not trained.
Usage: python benchmarks/tune.py [TRIALS [EPOCHS]]
"""

import sys
import tempfile
import time
from typing import Any

from sides import write

import moganet
from moganet.engine.tune import OF_TRIALS

SETTINGS: dict[str, Any] = {}  # beside the epochs
RANGES = {"optimizer.lr": "1e-4..1e-1", "loss.smoothing": [0.0, 0.1]}


def measure(trials: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Time a training alone and a search."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        alone = moganet.train("digits", overrides={**settings, **OF_TRIALS}, out=f"{folder}/alone")
        one = time.perf_counter() - begin
        begin = time.perf_counter()
        found = moganet.tune("digits", trials=trials, ranges=RANGES, overrides=settings, out=f"{folder}/tune")
        seconds = time.perf_counter() - begin
    assert alone is not None
    states = [trial.state for trial in found.trials]
    epochs = sum(trial.epochs or 0 for trial in found.trials)
    return {
        "trials": trials,
        "epochs": settings["trainer.max_epochs"],
        "seconds": seconds,
        "seconds_alone": one,
        "seconds_of_trainings": found.seconds,
        "seconds_added_a_trial": (seconds - found.seconds) / trials,
        "pruned": states.count("pruned"),
        "share_of_epochs": epochs / (trials * settings["trainer.max_epochs"]),
        "best": found.value,
        "recipe": next(trial.value for trial in found.trials if trial.number == 1),
        "settings": dict(found.settings),
    }


def main() -> None:
    """Measure, and write it."""
    numbers = [int(text) for text in sys.argv[1:]]
    trials, epochs = [*numbers, *(12, 10)[len(numbers) :]]
    write(__file__, measure(trials, {**SETTINGS, "trainer.max_epochs": epochs}))


if __name__ == "__main__":
    main()
