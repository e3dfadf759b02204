"""What the scripts here share: both sides timed in turns in one process, each with its own way to ask for memory."""

import ctypes
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from moganet import build_network
from moganet.config import Recipe
from moganet.data import Dataset, Split
from moganet.engine.doctor import environment
from moganet.inference import Predictor
from moganet.inference.own_data import match_classes
from moganet.inference.stream import Stream
from moganet.machine import in_turns, keep_freed_memory

ROUNDS = 5
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what it does in a round, and whether freed memory is kept while it does."""

    run: Callable[[], object]
    keeps_memory: bool = False

    def turn(self) -> None:
        """Do one round."""
        set_memory(self.keeps_memory)
        self.run()


def set_memory(keep: bool) -> None:
    """Let glibc keep freed memory, or go back to its defaults."""
    if keep:
        keep_freed_memory()
    elif sys.platform.startswith("linux"):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 65536)
        mallopt(M_TRIM_THRESHOLD, 128 * 1024)


def time_in_turns(sides: dict[str, Side], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Give each side's seconds of each round. The first round is not counted."""
    return dict(zip(sides, in_turns([side.turn for side in sides.values()], rounds), strict=True))


def compare(sides: dict[str, Side], rounds: int = ROUNDS) -> dict[str, float]:
    """Time the sides in turns; give the median seconds of each."""
    return {name: median(taken) for name, taken in time_in_turns(sides, rounds).items()}


def logits_and_labels(predictor: Predictor, dataset: Dataset, split: Split) -> tuple[Tensor, Tensor]:
    """Give a classifier's logits (N, classes) for a split of a data set, and its labels (N,), the model's indices."""
    order = match_classes(dataset.class_names, predictor.class_names)
    known = split.with_targets(split.targets.mapped(order, len(predictor.class_names)))
    seen = list(Stream(predictor, known))
    logits = [torch.from_numpy(batch.outputs["logits"]) for batch in seen]
    return torch.cat(logits), torch.cat([batch.targets for batch in seen])


def without_path(recipe: Recipe) -> Recipe:
    """Leave a machine's path out of a recipe's data source."""
    data = recipe.data.changed(source=recipe.data.source.partition(":")[0])
    return recipe.changed(data=data)


def reference_form(variant: str, **options: Any) -> nn.Module:
    """Build our network in the reference's form: kernels not cropped, oneDNN called as the reference calls it."""
    return build_network(variant, crop_kernels=False, **options)


def processes() -> dict[int, tuple[int, str]]:
    """Give the processes of this machine that have not ended, by number: the parent's, and what they are called."""
    found = dict[int, tuple[int, str]]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it has ended meanwhile
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = (int(parent), name)
    return found


def below(process: int) -> dict[int, str]:
    """Give the processes that one has started, and those that these have, with what they are called."""
    every, found, wanted = processes(), dict[int, str](), {process}
    while wanted:
        own = {number: name for number, (parent, name) in every.items() if parent in wanted}
        found |= own
        wanted = set(own)
    return found


def bound_gflops() -> float:
    """Give what this machine reaches in a product of two 2048x2048 matrices, in GFLOP/s."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / compare({"product": Side(lambda: a @ a)})["product"] / 1e9


def write(script: str, result: dict[str, Any]) -> None:
    """Write a script's result beside it, with the machine's description."""
    path = Path(script).with_suffix(".json")
    path.write_text(json.dumps({**result, "environment": environment().plain()}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def update(script: str, key: str, result: dict[str, Any]) -> None:
    """Write one part of a script's result, and leave the others as they are."""
    path = Path(script).with_suffix(".json")
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before.pop("environment", None)
    write(script, {**before, key: result})
