"""Time whole optimizer steps on the CPU with and without two of our changes, alternating in one run.

`keep_freed_memory`: glibc keeps what is freed. `crop_kernels`: depth-wise kernels without the taps that meet only
padding. Writes training_step.json beside this file. Usage: python benchmarks/training_step.py
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from moganet import build_network
from moganet.engine.doctor import environment
from moganet.machine import in_turns, keep_freed_memory

ROUNDS = 5
STEPS = 3  # in each process of the memory comparison; the first is not measured
BATCH = 32


def make_step(variant: str, size: int, batch: int, **options: object) -> Callable[[], None]:
    """Make a function that takes one AdamW step on random images."""
    torch.manual_seed(0)
    network = build_network(variant, num_classes=10, **options).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def compare(sides: dict[str, Callable[[], None]], batch: int) -> dict[str, float]:
    """Time the sides' steps in turns; give the median images/s of each."""
    times = in_turns(list(sides.values()), ROUNDS)
    return {name: batch / median(taken) for name, taken in zip(sides, times, strict=True)}


def time_memory(side: str) -> float:
    """Give the images/s of steps at 224 px in this process, whose allocator stays as it was first set."""
    if side == "kept":
        keep_freed_memory()
    return BATCH / median(in_turns([make_step("xt", 224, BATCH)], STEPS - 1)[0])


def compare_memory() -> dict[str, float]:
    """Time both sides in processes of their own, in turns."""
    rates: dict[str, list[float]] = {"kept": [], "returned": []}
    for _ in range(ROUNDS):
        for side, found in rates.items():
            command = [sys.executable, __file__, side]
            found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return {side: median(found) for side, found in rates.items()}


def main() -> None:
    """Run both comparisons and write the result."""
    if len(sys.argv) > 1:
        print(time_memory(sys.argv[1]))
        return
    memory = compare_memory()
    crops = {
        name: make_step("nano", 32, 128, stem_stride=2, crop_kernels=crop)
        for name, crop in (("cropped", True), ("full", False))
    }
    result = {
        "images_per_second": {
            f"moganet_xtiny, 224 px, batch {BATCH}: freed memory": memory,
            "moganet_nano, 32 px, batch 128: kernels": compare(crops, 128),
        },
        "rounds": ROUNDS,
        "environment": environment().plain(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["images_per_second"], indent=1))


if __name__ == "__main__":
    main()
