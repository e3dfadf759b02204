"""`train --profile`: where a training step's time goes, on the run's own data."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from moganet.data.loader import Batch
from moganet.data.module import ImageDataModule
from moganet.engine.doctor import Environment, environment
from moganet.machine import HALF, keep_freed_memory
from moganet.notices import noted
from moganet.results import Result
from moganet.tasks.module import TaskModule
from moganet.tasks.optimize import build_optimizer
from moganet.training.assemble import build_module, build_task
from moganet.training.resolve import prepare

PARTS = ("data", "augment", "forward", "backward", "optimizer")
STEPS, WARM_UP = 8, 2


class Profile(Result):
    """Where a step's time goes, and on what it was measured.

    milliseconds, shares: a step's parts, medians: `data` (waiting for a batch), `augment` (moving it to the device, and
    what is done there), `forward` (with the loss), `backward` and `optimizer`. slowest: kinds of module in the forward
    pass, in milliseconds.
    """

    recipe: str
    data: str
    size: list[int]
    batch_size: int
    precision: str
    steps: int
    milliseconds: dict[str, float]
    shares: dict[str, float]
    slowest: dict[str, float]
    images_per_second: float
    environment: Environment


@noted
def profile(
    recipe: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    start: str | Path | None = None,
) -> Profile:
    """Take a few steps of a recipe's training and say where their time goes; nothing is written.

    On a GPU each part waits for the device, so that a run is faster.
    """
    settings, dataset = prepare(recipe, data, overrides, start)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    uses_gpu = torch.cuda.is_available() and settings.trainer.accelerator != "cpu"
    device = torch.device("cuda" if uses_gpu else "cpu")
    module, task = build_module(settings, dataset), build_task(settings, dataset).to(device)
    if device.type == "cpu":
        keep_freed_memory()
    spent, by_kind = _measured(task, module, HALF.get(settings.trainer.precision))
    total = sum(spent.values())
    slowest = sorted(by_kind.items(), key=lambda item: -item[1])[:5]
    return Profile(
        recipe=settings.name,
        data=dataset.spec,
        size=list(settings.preprocessing.size),
        batch_size=settings.data.batch_size,
        precision=settings.trainer.precision,
        steps=STEPS,
        milliseconds=spent,
        shares={part: taken / total for part, taken in spent.items()},
        slowest={kind: 1e3 * seconds for kind, seconds in slowest},
        images_per_second=settings.data.batch_size / (total / 1e3),
        environment=environment(),
    )


def _measured(
    task: TaskModule, module: ImageDataModule, half: torch.dtype | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the milliseconds of a step's parts, and the seconds of each kind of module in a forward pass."""
    network, device = task.network.train(), task.device
    optimizer = build_optimizer(network, task.learning.optimizer)
    batches, times = _endless(module), []
    by_kind: dict[str, float] = {}
    for turn in range(WARM_UP + STEPS):
        clock = _Clock(device)
        raw = clock.measure("data", lambda: next(batches))
        batch = clock.measure("augment", lambda raw=raw: _prepare(raw, module, device))  # type: ignore[misc]
        optimizer.zero_grad()
        with _timed_modules(network, by_kind if turn == WARM_UP else None):
            loss = clock.measure("forward", lambda batch=batch: _loss(network, task.loss_of, batch, half))  # type: ignore[misc]
        clock.measure("backward", loss.backward)
        clock.measure("optimizer", optimizer.step)
        if turn >= WARM_UP:
            times.append(clock.seconds)
    return {part: 1e3 * median(taken[part] for taken in times) for part in PARTS}, by_kind


class _Clock:
    """Time the parts of one step; on a GPU with all work of a part done."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, dict.fromkeys(PARTS, 0.0)

    def measure(self, part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[part] += time.perf_counter() - start
        return result


@contextmanager
def _timed_modules(network: nn.Module, totals: dict[str, float] | None) -> Iterator[None]:
    """Within the block, add each leaf module's forward time to its kind's in `totals`, unless that is None."""
    begun: dict[int, float] = {}
    hooks: list[Any] = []

    def before(module: nn.Module, inputs: Any) -> None:
        begun[id(module)] = time.perf_counter()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        assert totals is not None
        kind = type(module).__name__
        totals[kind] = totals.get(kind, 0.0) + time.perf_counter() - begun[id(module)]

    for module in network.modules():
        if totals is not None and not any(module.children()):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _endless(module: ImageDataModule) -> Iterator[Batch]:
    loader = module.train_dataloader()
    while True:
        yield from loader


def _prepare(raw: Batch, module: ImageDataModule, device: torch.device) -> Batch:
    return module.augmented(Batch(raw.images.to(device, non_blocking=True), raw.targets.to(device, non_blocking=True)))


def _loss(
    network: nn.Module, criterion: Callable[..., torch.Tensor], batch: Batch, half: torch.dtype | None
) -> torch.Tensor:
    with torch.autocast(batch.images.device.type, half, enabled=half is not None):
        loss: torch.Tensor = criterion(network(batch.images), batch.targets)
    return loss
