"""Time whole optimizer steps on the CPU with and without two of our changes, alternating in one run.

`keep_freed_memory`: glibc keeps what is freed. `crop_kernels`: depth-wise kernels without the taps that meet only
padding. Writes training_step.json beside this file. Usage: python benchmarks/training_step.py
"""

import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from moganet import build_network
from moganet.engine.doctor import environment
from moganet.engine.memory import M_MMAP_MAX, M_TRIM_THRESHOLD, keep_freed_memory

ROUNDS = 5
DEFAULT_MMAP_MAX, DEFAULT_TRIM_THRESHOLD = 65536, 128 * 1024


def return_freed_memory() -> None:
    """Give glibc its defaults back."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
    mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)


def make_step(variant: str, size: int, batch: int, **options: object) -> Callable[[], None]:
    """Make a function that takes one AdamW step on random images."""
    torch.manual_seed(0)
    network = build_network(variant, num_classes=10, **options).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def compare(sides: dict[str, tuple[Callable[[], None], Callable[[], None]]], batch: int) -> dict[str, float]:
    """Time each side's step after its preparation, in turns; give the median images/s of each."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, (prepare, step) in sides.items():
            prepare()
            step()  # the first step after a change of side is not measured
            start = time.perf_counter()
            step()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: batch / median(taken) for name, taken in times.items()}


def nothing() -> None:
    """Prepare nothing."""


def main() -> None:
    """Run both comparisons and write the result."""
    step = make_step("xt", 224, 16)
    memory = compare({"kept": (keep_freed_memory, step), "returned": (return_freed_memory, step)}, 16)
    keep_freed_memory()
    crops = {
        name: (nothing, make_step("nano", 32, 128, stem_stride=2, crop_kernels=crop))
        for name, crop in (("cropped", True), ("full", False))
    }
    kernels = compare(crops, 128)
    result = {
        "images_per_second": {"moganet_xtiny, 224 px, batch 16": memory, "moganet_nano, 32 px, batch 128": kernels},
        "rounds": ROUNDS,
        "environment": environment(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["images_per_second"], indent=1))


if __name__ == "__main__":
    main()
