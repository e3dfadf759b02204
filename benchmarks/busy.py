"""Time networks on a machine that others use: what threads wait in, and where they are kept, decides what is lost.

Usage: python benchmarks/busy.py [--rounds 5] [--seconds 1.5] [--only WORK ...] [--others 0 1 2] [--name busy]

A process a work and a setting, which lives on and computes when it is told to; beside it no, one or two other processes
compute without end, one thread each. The settings of a work take turns. Writes results/NAME.json: medians of images/s,
and of images a second of processor time, which what else is on the machine disturbs less. Linux or macOS.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

MODEL, SIZE = "moganet_nano.cifar10", 32
BATCHES = {"openvino, one image": 1, "openvino": 128, "onnx": 32, "eager": 32, "train": 32}
# The environment of a process, and what OpenVINO is told.
TORCH = {"as libgomp has it": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}, "spins 1,000": {"GOMP_SPINCOUNT": "1000"}}
PINS = {"pinned": {"PINNED": "yes"}, "free": {"PINNED": "no"}}
SETTINGS: dict[str, dict[str, dict[str, str]]] = {
    "openvino, one image": PINS,
    "openvino": PINS,
    "onnx": {"waits": {}, "spins": {"SPINS": "1"}},
    "eager": TORCH,
    "train": TORCH,
}
ONE = "one thread"
BURN = "while True: pass"


def computing(work: str) -> Callable[[], object]:
    """Give what a work does again and again."""
    import torch  # before the package, which would let its threads sleep

    import moganet

    torch.set_num_threads(int(os.environ["THREADS"]))
    if work == "train":
        return _training(torch)
    if (pinned := os.environ.get("PINNED")) is not None:
        _pin(pinned == "yes")
    if "SPINS" in os.environ:
        _spin()
    predictor = moganet.load(MODEL, work.partition(",")[0])  # type: ignore[arg-type]
    images = torch.randn(BATCHES[work], 3, SIZE, SIZE).numpy()
    return lambda: predictor.outputs(images)


def _training(torch: Any) -> Callable[[], object]:
    from training_step import make_step

    step: Callable[[], object] = make_step("nano", SIZE, BATCHES["train"], stem_stride=2)
    return step


def _pin(pinned: bool) -> None:
    """Let OpenVINO keep each of its threads on a core, or not."""
    import openvino

    compiled = openvino.Core.compile_model

    def compile_model(core: Any, model: Any, device: str, options: dict[str, Any]) -> Any:
        return compiled(core, model, device, {**options, "ENABLE_CPU_PINNING": pinned})

    openvino.Core.compile_model = compile_model


def _spin() -> None:
    """Let onnxruntime's threads go on looking for work, as they do by default."""
    import onnxruntime

    options = onnxruntime.SessionOptions
    options.add_session_config_entry = lambda *_: None


def serve(work: str) -> None:
    """Compute for as long as each line on stdin says, and answer with images, seconds and those of processors."""
    once = computing(work)
    once()
    print(flush=True)
    for line in sys.stdin:
        start, used, calls = time.perf_counter(), time.process_time(), 0
        while not calls or time.perf_counter() - start < float(line):
            once()
            calls += 1
        taken, processors = time.perf_counter() - start, time.process_time() - used
        print(json.dumps([calls * BATCHES[work], taken, processors]), flush=True)


class Worker:
    """A process that does a work in a setting."""

    def __init__(self, work: str, setting: dict[str, str], threads: int) -> None:
        environment = {**os.environ, **setting, "THREADS": str(threads)}
        for name in {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} - setting.keys():
            environment.pop(name, None)
        command = [sys.executable, __file__, "--serve", work]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended with {self.process.wait()}")
        return line

    def measure(self, seconds: float) -> tuple[float, float]:
        """Give images a second, and images a second of processors."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        images, taken, processors = json.loads(self._answer())
        return images / taken, images / processors

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Let so many processes compute beside the block."""
    others = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(number)]
    try:
        time.sleep(0.2 if number else 0)
        yield
    finally:
        for other in others:
            other.send_signal(signal.SIGKILL)
            other.wait()


def measure(work: str, asked: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Give for each number of others and each setting the medians of what was measured."""
    settings = {name: (setting, asked.threads) for name, setting in SETTINGS[work].items()}
    settings[ONE] = (next(iter(SETTINGS[work].values())), 1)
    workers = {name: Worker(work, *setting) for name, setting in settings.items()}
    found: dict[int, dict[str, list[tuple[float, float]]]] = {
        number: {name: [] for name in workers} for number in asked.others
    }
    try:
        for _ in range(asked.rounds):
            for number, each in found.items():
                with busy(number):
                    for name, worker in workers.items():
                        each[name].append(worker.measure(asked.seconds))
    finally:
        for worker in workers.values():
            worker.end()
    return {
        str(number): {
            name: {
                "images_per_second": round(median(rate for rate, _ in some), 1),
                "images_per_processor_second": round(median(rate for _, rate in some), 1),
            }
            for name, some in each.items()
        }
        for number, each in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", choices=BATCHES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--others", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=BATCHES, default=[*BATCHES])
    parser.add_argument("--name", default="busy")
    asked = parser.parse_args(arguments)
    if asked.serve:
        serve(asked.serve)
        return
    measured = {work: measure(work, asked) for work in asked.only}
    from moganet.engine.doctor import environment

    what = {"rounds": asked.rounds, "seconds": asked.seconds, "threads": asked.threads}
    result = {"environment": environment().plain(), **what, "others": measured}
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{asked.name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
