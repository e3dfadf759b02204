"""Time the command from its start to its end, of two checkouts in turns: whole processes, their seconds and memory.

Usage: python benchmarks/startup.py BEFORE AFTER [--rounds 5] [--only WORK ...] [--name startup]

BEFORE and AFTER are folders (`git worktree add /tmp/before COMMIT`). A process a work, a side and a round; in every
second round the other side is the first. Each side has a cache of its own: "predict, first" begins with an empty one,
the others with what a first call left there. "train: first line" ends with the first line on stderr, "train: first
step" with the first step. Writes results/NAME.json: medians of seconds by the clock, of seconds of processors, which
other work on the machine disturbs less, and of the largest memory that a process had, in MB. Linux or macOS.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("before", "after")
MODEL = "moganet_nano.cifar10"
TRAIN = ["train", "digits", "--set", "trainer.max_steps=1", "--set", "trainer.max_epochs=1", "--overwrite", "--json"]
MOGANET = ["-m", "moganet_cli"]
FIRST_STEP = """
import os, sys
from moganet.training.callbacks import RunProgress
RunProgress.on_train_batch_end = lambda *_, **__: os._exit(0)
import moganet_cli
moganet_cli.main(sys.argv[1:])
"""
# What Python is given, in the folder of a side, where lie x.jpg, m.onnx and m.xml.
WORKS = {
    "import torch": ["-c", "import torch"],
    "import moganet": ["-c", "import moganet"],
    "help": [*MOGANET, "--help"],
    "predict, first": [*MOGANET, "predict", MODEL, "x.jpg"],
    "predict": [*MOGANET, "predict", MODEL, "x.jpg"],
    "predict .onnx": [*MOGANET, "predict", "m.onnx", "x.jpg"],
    "predict .xml": [*MOGANET, "predict", "m.xml", "x.jpg"],
    "info": [*MOGANET, "info"],
    "info MODEL": [*MOGANET, "info", MODEL],
    "doctor": [*MOGANET, "doctor"],
    "verify": [*MOGANET, "verify", MODEL],
    "train: first line": [*MOGANET, *TRAIN, "--out", "run"],
    "train: first step": ["-c", FIRST_STEP, *TRAIN, "--out", "run"],
}
MAKE = """
import sys, numpy, moganet
from PIL import Image
Image.fromarray(numpy.random.RandomState(0).randint(0, 256, (375, 500, 3), numpy.uint8)).save("x.jpg")
for name in sys.argv[2:]:
    moganet.export(sys.argv[1], {"m.onnx": "onnx", "m.xml": "openvino"}[name], name)
"""


class Side:
    """A checkout of the package, and a folder with a cache of its own."""

    def __init__(self, package: Path, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        folder.mkdir()
        self.environment = {**os.environ, "PYTHONPATH": str(package.resolve()), "MOGANET_CACHE": str(self.cache)}

    def prepare(self, works: Sequence[str]) -> None:
        """Make what is asked about, and fill the cache."""
        files = [name for name in ("m.onnx", "m.xml") if any(name in WORKS[work] for work in works)]
        self.start(["-c", MAKE, MODEL, *files]).wait()
        for work in {*works, "predict"} - {"train: first line", "train: first step"}:
            self.start(WORKS[work]).wait()

    def start(self, arguments: Sequence[str], stderr: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=stderr
        )

    def measure(self, work: str) -> dict[str, float]:
        """Run a work's process; give its seconds, those of processors, and its memory in MB."""
        if work == "predict, first":
            shutil.rmtree(self.cache, ignore_errors=True)
        begun, to_first_line = time.perf_counter(), work == "train: first line"
        process = self.start(WORKS[work], subprocess.PIPE if to_first_line else subprocess.DEVNULL)
        if to_first_line:
            assert process.stderr is not None
            process.stderr.readline()
            process.kill()
            process.stderr.close()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not to_first_line:
            raise SystemExit(f"{work} ended with {process.returncode} in {self.folder}")
        memory = used.ru_maxrss / (1 << 10 if sys.platform != "darwin" else 1 << 20)
        return {"seconds": seconds, "processors": used.ru_utime + used.ru_stime, "mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=[*WORKS])
    parser.add_argument("--name", default="startup")
    asked = parser.parse_args()
    found: dict[str, dict[str, list[dict[str, float]]]] = {work: {side: [] for side in SIDES} for work in asked.only}
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: Side(getattr(asked, name), Path(folder) / name) for name in SIDES}
        for side in sides.values():
            side.prepare(asked.only)
        for turn in range(asked.rounds):
            for work in asked.only:
                for name in SIDES if turn % 2 == 0 else SIDES[::-1]:
                    found[work][name].append(sides[name].measure(work))
    write(asked.name, asked.rounds, found)


def write(name: str, rounds: int, found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Write the medians of all rounds, and the machine that they are of."""
    from moganet.engine.doctor import environment  # not before: a process has at least the memory of who started it

    measured: dict[str, Any] = {
        work: {
            side: {key: round(median(one[key] for one in each), 2) for key in each[0]} for side, each in sides.items()
        }
        for work, sides in found.items()
    }
    result = {"environment": environment().plain(), "rounds": rounds, "measured": measured}
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
