"""Train airbench's dense networks on CIFAR-10 by its own code, on processors: the peer of the recipe `cifar10`.

Usage: python benchmarks/peer_cifar10.py [--network 94] [--epochs E] [--seed 0] [--data cifar10[:PATH]] [--held-back N]

It needs `pip install airbench`, whose code asks for a GPU. What it asks of one is answered by the processor: its
network stays in 32 bits and computes by autocast in bf16 where there are units for it, its clock is this machine's. All
else, augmentation, optimizer, schedule, averages, is the peer's. `--held-back 5000` measures on so many training images
that it does not learn from, in place of the test set. Writes results/peer-NETWORK-EPOCHS-epochs-seedN.json: accuracy
after each epoch against the seconds of training, without measuring, and at the end also with its test-time views.
"""

import argparse
import contextlib
import importlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from moganet.data import open_data
from moganet.engine.doctor import environment
from moganet.files import write_text
from moganet.machine import has_fast_bf16, keep_freed_memory

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("93", "94", "95", "96")


@dataclass
class Clock:
    """Stands in for CUDA's events: seconds of training, and what was measured at which of them."""

    begin: float = 0.0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def start(self) -> None:
        """Begin to count."""
        self.begin = time.perf_counter()

    def stop(self) -> None:
        """Count no longer."""
        self.seconds += time.perf_counter() - self.begin
        self.begin = 0.0


class Event:
    """One of a pair of CUDA's events; the first begins to count, the second ends it."""

    clock = Clock()
    made = 0

    def __init__(self, enable_timing: bool = True) -> None:
        self.first = Event.made % 2 == 0
        Event.made += 1

    def record(self) -> None:
        """Begin, or end."""
        (self.clock.start if self.first else self.clock.stop)()

    def elapsed_time(self, other: "Event") -> float:
        """Give milliseconds for the peer's own table, which nobody reads here."""
        return 0.0


class InHalf(nn.Module):
    """A network that computes in bf16 by autocast; its parameters keep their names but for a first word."""

    def __init__(self, network: nn.Sequential, half: bool) -> None:
        super().__init__()
        self.network, self.half_wanted = network, half

    def __getitem__(self, place: int) -> nn.Module:
        return self.network[place]

    def forward(self, x: Tensor) -> Tensor:
        """Give logits (B, 10) in 32 bits."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half_wanted):
            return self.network(x).float()  # type: ignore[no-any-return]


@contextlib.contextmanager
def on_processors() -> Iterator[None]:
    """Let what asks for a GPU have the processor."""
    same: Callable[..., Any] = lambda self, *_, **__: self  # noqa: E731
    with contextlib.ExitStack() as stack:
        for kind in (nn.Module, Tensor):
            stack.enter_context(patch.object(kind, "cuda", same))
        stack.enter_context(patch.object(nn.Module, "half", same))
        stack.enter_context(patch.object(Tensor, "half", Tensor.float))
        stack.enter_context(patch.object(torch.cuda, "Event", Event))
        stack.enter_context(patch.object(torch.cuda, "synchronize", lambda *_: None))
        yield


def loaders(loader: Any, data: str, held_back: int, folder: Path) -> Callable[..., Any]:
    """Write the images as the peer reads them, and give what opens its loader on them."""
    dataset = open_data(data)
    arrays = {name: _arrays(dataset.splits[name]) for name in ("train", "test")}
    if held_back:
        order = torch.randperm(len(arrays["train"][0]), generator=torch.Generator().manual_seed(0))
        left, kept = order[:held_back], order[held_back:]
        images, labels = arrays["train"]
        arrays = {"train": (images[kept], labels[kept]), "test": (images[left], labels[left])}
    for name, (images, labels) in arrays.items():
        torch.save({"images": images, "labels": labels, "classes": list(dataset.class_names)}, folder / f"{name}.pt")

    def opened(path: str, **options: Any) -> Any:
        return loader(str(folder), gpu="cpu", **options)

    return opened


def _arrays(split: Any) -> tuple[Tensor, Tensor]:
    """Give a split's images (N, 32, 32, 3) and labels (N,), as torchvision's data set has them."""
    labels = torch.tensor([int(split.targets[i]) for i in range(len(split))])
    return split.images.permute(0, 2, 3, 1).contiguous(), labels


def train(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train by the peer's code; give what became of it."""
    airbench, utils, library = (
        importlib.import_module(f"airbench{part}") for part in ("", ".utils", f".lib_airbench{asked.network}")
    )
    open_loader, hyp = loaders(utils.CifarLoader, asked.data, asked.held_back, folder), library.hyp
    half = asked.precision == "bf16" or (asked.precision == "auto" and has_fast_bf16("cpu"))
    clock = Event.clock = Clock()
    measure = utils.evaluate
    last: dict[str, Any] = {}

    def measured(model: Any, loader: Any, tta_level: int = 0) -> float:
        accuracy = float(measure(model, loader, tta_level))
        last["tta" if tta_level else "plain"] = accuracy
        if not tta_level:
            clock.curve.append({"seconds": clock.seconds, "accuracy": accuracy})
            print(json.dumps(clock.curve[-1]), flush=True)
        return accuracy

    make = getattr(library, f"make_net{asked.network}")
    options = {} if asked.epochs is None else {"epochs": asked.epochs}
    how: dict[str, Any] = {"batch_size": hyp["opt"]["batch_size"], "aug": hyp["aug"], "altflip": True}
    with on_processors(), patch.object(utils, "CifarLoader", open_loader), patch.object(utils, "evaluate", measured):
        torch.manual_seed(asked.seed)
        begin = open_loader("", train=True, **how)
        verb = getattr(airbench, f"train{asked.network}")
        with contextlib.redirect_stdout(io.StringIO()) if asked.quiet else contextlib.nullcontext():
            model = verb(begin, make_net=lambda: InHalf(make(), half), **options)
    return {
        "network": f"airbench{asked.network}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": asked.epochs or hyp["opt"]["train_epochs"],
        "seed": asked.seed,
        "precision": "bf16" if half else "f32",
        "measured_on": f"{asked.held_back:,} training images held back" if asked.held_back else "the test set",
        "seconds": clock.curve[-1]["seconds"],
        "top1": last["plain"],
        "top1_with_views": last["tta"],
        "curve": clock.curve,
        "environment": environment().plain(),
    }


def main() -> None:
    """Train, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="94")
    parser.add_argument("--epochs", type=float, help="[the peer's own]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--held-back", type=int, default=0)
    parser.add_argument("--precision", choices=("auto", "bf16", "f32"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="without the peer's own table")
    asked = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        result = train(asked, Path(folder))
    name = f"peer-{result['network']}-{result['epochs']:g}-epochs-seed{asked.seed}"
    write_text(RESULTS / f"{name}.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "curve"}))


if __name__ == "__main__":
    main()
