"""Time two checkouts of the package side by side, in turns in one run: evaluate, predict and training.

Usage: python benchmarks/house.py BEFORE AFTER [--rounds 7] [--photos FOLDER] [--only WORK ...] [--name house]

BEFORE and AFTER are folders (`git worktree add /tmp/before COMMIT`). Each has a process of its own, which imports its
package and does what it is asked: a line with a work's name comes in, its seconds go out. In every second round the
other side is the first. Only the public verbs are called, in a way that both sides know. Works on photographs are
skipped where there are none. Writes results/NAME.json with every round's seconds, their medians, the median over rounds
of the sides' ratio, and the machine's description. The seconds of processors are disturbed less by other work than the
clock's.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from moganet import Predictor

SCRIPT = Path(__file__).resolve()
PHOTOS = SCRIPT.parents[2] / "shared" / "data" / "flowers-mini"
SIDES = ("before", "after")
Seconds = dict[str, float]  # by what they were needed for


class Works:
    """What a side can be asked to do. steps: of a training. repeats: of what takes a tenth of a second."""

    def __init__(self, folder: Path, photos: str, steps: int, repeats: int) -> None:
        self.folder, self.photos, self.steps, self.repeats = folder, photos, steps, repeats

    @cached_property
    def digits(self) -> "Predictor":
        """Load the model that ships."""
        import moganet

        return moganet.load("moganet_nano.digits")

    @cached_property
    def of_photos(self) -> "Predictor":
        """Train a moganet_xtiny for a step, so that it knows the photographs' classes."""
        import moganet

        self.train("finetune", self.photos, {**XTINY, "trainer.max_steps": 1})
        return moganet.load(self.folder / "finetune" / "last.safetensors")

    def train(self, recipe: str, data: str | None, overrides: dict[str, Any]) -> Seconds:
        """Train; give the seconds of the steps alone, and of the whole call."""
        import moganet

        start = time.perf_counter()
        run = moganet.train(recipe, data, overrides, self.folder / recipe, start="none", overwrite=True)
        whole = time.perf_counter() - start
        assert run is not None  # as on processes other than the first
        return {"steps": run["steps"] * overrides["data.batch_size"] / run["images_per_second"], "whole": whole}

    def evaluate(self, predictor: "Predictor", data: str, split: str, times: int = 1) -> Seconds:
        """Evaluate a number of times."""
        import moganet

        start = time.perf_counter()
        for _ in range(times):
            moganet.evaluate(predictor, data, split)
        return {"whole": time.perf_counter() - start}

    def predict(self) -> Seconds:
        """Predict the photographs, as files."""
        import moganet

        predictor, start = self.of_photos, time.perf_counter()
        moganet.predict(predictor, [self.photos])
        return {"whole": time.perf_counter() - start}


DIGITS = {"data.batch_size": 64}
XTINY = {"network.name": "moganet_xtiny", "preprocessing.size": 64, "trainer.early_stop": None, "data.batch_size": 32}
WORKS: dict[str, Callable[[Works], Seconds]] = {
    "evaluate-digits": lambda works: works.evaluate(works.digits, "digits", "test", works.repeats),
    "evaluate-photos": lambda works: works.evaluate(works.of_photos, works.photos, "all"),
    "predict-photos": Works.predict,
    "train-digits": lambda works: works.train("digits", None, {**DIGITS, "trainer.max_steps": works.steps}),
    "train-xtiny-64px": lambda works: works.train(
        "finetune", works.photos, {**XTINY, "trainer.max_steps": -(-works.steps // 4)}
    ),
}
OF_PHOTOS = ("evaluate-photos", "predict-photos", "train-xtiny-64px")


def serve(package: str, photos: str, steps: str, repeats: str) -> None:
    """Do what lines on stdin ask for, with the package that lies in a checkout, and give seconds on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the package says is no answer
    import moganet

    assert Path(moganet.__file__).is_relative_to(package), f"{moganet.__file__} does not lie in {package}"
    with answers, tempfile.TemporaryDirectory() as folder:
        works = Works(Path(folder), photos, int(steps), int(repeats))
        for line in sys.stdin:
            before = used()
            seconds = WORKS[line.strip()](works)
            print(json.dumps({**seconds, "processors": used() - before}), file=answers, flush=True)


def used() -> float:
    """Give the seconds of processors that this process and its ended children have taken."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Checkout:
    """A process with a checkout's package."""

    def __init__(self, folder: Path, *options: object) -> None:
        self.folder = folder.resolve()
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--serve", str(self.folder), *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(self.folder), "MOGANET_REPORT": "off"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.process.kill()
        self.process.communicate()  # the end of its input ends it

    def ask(self, work: str) -> Seconds:
        """Let it do a work, and give the seconds that it needed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(work, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{work}: {self.folder} ended")
        return json.loads(answer)  # type: ignore[no-any-return]

    @property
    def commit(self) -> str | None:
        """Name what is checked out, with "-dirty" where it was changed since; None in a folder without git."""
        told = ["git", "-C", str(self.folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(told, capture_output=True, text=True).stdout.strip() or None


def in_turns(sides: dict[str, Checkout], works: list[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Give for each figure the seconds of each side, one value a round. A first round warms up and is not counted."""
    found: dict[str, dict[str, list[float]]] = {}
    for work in works:
        for turn in range(rounds + 1):
            for side in list(sides)[:: 1 if turn % 2 else -1]:
                answer = sides[side].ask(work)
                for part, seconds in answer.items() if turn else ():
                    found.setdefault(f"{work}: {part}", {name: [] for name in sides})[side].append(seconds)
            print(f"{work} {turn}/{rounds}", file=sys.stderr, flush=True)
    return found


def compared(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Give medians, and that of the rounds' ratios: what slows the machine down meets both sides of a round."""
    before, after = (seconds[side] for side in SIDES)
    ratios = [b / a for a, b in zip(before, after, strict=True)]
    medians = {side: median(taken) for side, taken in seconds.items()}
    return {"median_seconds": medians, "after_to_before": median(ratios), "seconds": seconds}


def main() -> None:
    """Start both sides, ask them in turns, and write."""
    from sides import write  # not at the top: a side imports its own package

    asked = parse()
    photos = asked.photos.resolve()
    skipped = {work: f"{photos} is not there" for work in asked.only if work in OF_PHOTOS and not photos.is_dir()}
    works = [work for work in asked.only if work not in skipped]
    with ExitStack() as stack:
        options = (photos, asked.steps, asked.repeats)
        folders = (asked.before, asked.after)
        started = [stack.enter_context(Checkout(folder, *options)) for folder in folders]
        commits = {name: side.commit for name, side in zip(SIDES, started, strict=True)}
        found = in_turns(dict(zip(SIDES, started, strict=True)), works, asked.rounds)
    result = {"commits": commits, "rounds": asked.rounds, "steps": asked.steps, "repeats": asked.repeats}
    measured = {name: compared(seconds) for name, seconds in found.items()}
    folder = Path(__file__).with_name("results")
    folder.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    write(str(folder / asked.name), {**result, "measured": measured, "skipped": skipped, "load": load})


def parse() -> argparse.Namespace:
    """Read the command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="of the digits' training; a quarter for xtiny")
    parser.add_argument("--repeats", type=int, default=10, help="of the digits' evaluation in a round")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder with a sub-folder for each class")
    parser.add_argument("--only", nargs="+", choices=list(WORKS), default=list(WORKS), metavar="WORK")
    parser.add_argument("--name", default="house")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
