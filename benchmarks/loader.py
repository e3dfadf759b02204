"""Time a folder's JPEGs read by our loader's processes and by torch's DataLoader, alternating in one run.

Both read the same batches with the same code: only what brings them from two processes to the main one differs. The
seconds of processors are those of all three processes, which other work on the machine disturbs less than the clock.
Writes loader.json. Usage: python benchmarks/loader.py FOLDER [SIZE …]
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
from sides import ROUNDS, write
from torch.utils.data import DataLoader, Dataset

from moganet import open_data
from moganet.config import Preprocessing
from moganet.data.loader import Batch, Loader
from moganet.data.module import _ImageBatches
from moganet.data.order import ALONE, EvenBatches
from moganet.data.preprocess import resize_and_crop

BATCH, WORKERS, REPEATS = 32, 2, 3


class _AsDataset(Dataset[Batch]):
    """A batch for each place of a list of batches, as a DataLoader without automatic batches asks for them."""

    def __init__(self, batches: _ImageBatches, order: list[Any]) -> None:
        self.batches, self.order = batches, order

    def __getitem__(self, place: int) -> Batch:
        return self.batches.read(self.order[place])

    def __len__(self) -> int:
        return len(self.order)


def _used() -> float:
    """Give the seconds of processors that this process and its children have taken."""
    ended = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) + ended + sum(map(_of_child, _children()))


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(text) for text in file.read().split()]


def _of_child(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _compare(sides: dict[str, Callable[[], Iterator[Batch]]]) -> dict[str, dict[str, float]]:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):  # the first starts the processes and is not counted
        for name, read in sides.items():
            clock, used = time.perf_counter(), _used()
            for _ in range(REPEATS):
                images = sum(len(batch.images) for batch in read())
            if turn:
                seconds, processors = time.perf_counter() - clock, _used() - used
                taken[name].append((seconds / REPEATS / images, processors / REPEATS / images))
    return {
        name: {
            "images_per_second": 1 / median(clock for clock, _ in values),
            "processor_ms_an_image": 1000 * median(used for _, used in values),
        }
        for name, values in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("sizes", nargs="*", type=int, default=[224, 64])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    split = open_data(asked.folder).split("train")
    result: dict[str, Any] = {"images": len(split), "batch": BATCH, "workers": WORKERS, "rounds": ROUNDS}
    for size in asked.sizes:
        batches = _ImageBatches(
            split, partial(resize_and_crop, preprocessing=Preprocessing(size=(size, size))), substitute=False
        )
        order = EvenBatches(len(split), BATCH, ALONE)
        torchs = DataLoader(
            _AsDataset(batches, list(order)), batch_size=None, num_workers=WORKERS, persistent_workers=True
        )
        ours = Loader(batches, order, WORKERS)
        sides = {"ours": lambda ours=ours: iter(ours), "DataLoader": lambda torchs=torchs: iter(torchs)}
        measured = _compare(sides)
        del ours, torchs, sides
        a, b = measured["ours"], measured["DataLoader"]
        measured["ours_to_DataLoader"] = {key: a[key] / b[key] for key in a}
        result[f"{size} px"] = measured
    result["load"] = os.getloadavg()[0]
    write(__file__, result)


if __name__ == "__main__":
    main()
