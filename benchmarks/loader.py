"""Time a folder's JPEGs read by our loader's processes and by torch's DataLoader, alternating in one run.

Both read the same batches with the same code: only what brings them from two processes to the main one differs. The
seconds of processors are those of all three processes, which other work on the machine disturbs less than the clock.
Writes loader.json. Usage: python benchmarks/loader.py FOLDER [SIZE …]
"""

import argparse
import os
import resource
from collections.abc import Iterable
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
from moganet.data.preprocess import bring_to_size
from moganet.machine import in_turns

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


def _read(batches: Iterable[Batch], used: list[float]) -> None:
    before = _used()
    for _ in range(REPEATS):
        for _ in batches:
            pass
    used.append(_used() - before)


def _compare(sides: dict[str, Iterable[Batch]], images: int) -> dict[str, dict[str, float]]:
    used: dict[str, list[float]] = {name: [] for name in sides}
    # The first round starts the processes and is not counted.
    taken = in_turns([partial(_read, batches, used[name]) for name, batches in sides.items()], ROUNDS)
    return {
        name: {
            "images_per_second": REPEATS * images / median(seconds),
            "processor_ms_an_image": 1000 * median(used[name][1:]) / REPEATS / images,
        }
        for name, seconds in zip(sides, taken, strict=True)
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
        to_size = partial(bring_to_size, preprocessing=Preprocessing(size=(size, size)))
        batches = _ImageBatches(split, to_size, substitute=False)
        order = EvenBatches(len(split), BATCH, ALONE)
        torchs = DataLoader(
            _AsDataset(batches, list(order)), batch_size=None, num_workers=WORKERS, persistent_workers=True
        )
        ours = Loader(batches, order, WORKERS)
        measured = _compare({"ours": ours, "DataLoader": torchs}, len(split))
        del ours, torchs
        a, b = measured["ours"], measured["DataLoader"]
        measured["ours_to_DataLoader"] = {key: a[key] / b[key] for key in a}
        result[f"{size} px"] = measured
    result["load"] = os.getloadavg()[0]
    write(__file__, result)


if __name__ == "__main__":
    main()
