"""`train --profile`: where a training step's time goes, on the run's own data."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from moganet.config import with_short
from moganet.data.module import ImageDataModule
from moganet.engine.benchmark_data import OfRecipe, augmented, loss_in, loss_of, measured_on, ready_to_train
from moganet.engine.doctor import Environment
from moganet.machine import half_type
from moganet.notices import noted
from moganet.processors import threaded
from moganet.tasks.module import TaskModule
from moganet.tasks.optimize import build_optimizer

if TYPE_CHECKING:
    from moganet.data.in_python import Data

PARTS = ("data", "augment", "forward", "backward", "optimizer")
STEPS, WARM_UP = 8, 2


class Profile(OfRecipe):
    """Where a step's time goes, and on what it was measured.

    milliseconds, shares: a step's parts, medians: `data` (waiting for a batch), `augment` (moving it to the device, and
    what is done there), `forward` (with the loss), `backward` and `optimizer`. slowest: kinds of module in the forward
    pass, in milliseconds.
    """

    steps: int
    milliseconds: dict[str, float]
    shares: dict[str, float]
    slowest: dict[str, float]
    images_per_second: float
    environment: Environment


@noted
@threaded
def profile(
    recipe: str | Path,
    data: "Data | None" = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    start: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Profile:
    """Take a few steps of a recipe's training and say where their time goes; nothing is written.

    On a GPU each part waits for the device, so that a run is faster.
    """
    settings, dataset, module, task = ready_to_train(recipe, data, with_short(overrides, {"device": device}), start)
    spent, by_kind = _measured(task, module, half_type(settings.trainer.precision))
    total = sum(spent.values())
    slowest = sorted(by_kind.items(), key=lambda item: -item[1])[:5]
    return Profile(
        **measured_on(settings, dataset),
        steps=STEPS,
        milliseconds=spent,
        shares={part: taken / total for part, taken in spent.items()},
        slowest={kind: 1e3 * seconds for kind, seconds in slowest},
        images_per_second=settings.data.batch_size / (total / 1e3),
    )


def _measured(
    task: TaskModule, module: ImageDataModule, half: torch.dtype | None
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the milliseconds of a step's parts, and the seconds of each kind of module in a forward pass."""
    optimizer, loader = build_optimizer(task.network, task.learning.optimizer), module.train_dataloader()
    batches = (batch for _ in itertools.count() for batch in loader)
    by_kind: dict[str, float] = {}
    times = []
    for turn in range(WARM_UP + STEPS):
        clock = _Clock(task.device)
        raw = clock.measure("data", partial(next, batches))
        batch = clock.measure("augment", partial(augmented, raw, module, task.device))
        optimizer.zero_grad()
        with _timed_modules(task.network, by_kind) if turn == WARM_UP else nullcontext():
            loss = clock.measure("forward", partial(loss_in, partial(loss_of, task), batch, half))
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
            torch.cuda.synchronize(self.device)
        self.seconds[part] += time.perf_counter() - start
        return result


@contextmanager
def _timed_modules(network: nn.Module, totals: dict[str, float]) -> Iterator[None]:
    """Within the block, add each leaf module's forward time to its kind's in `totals`."""
    begun: dict[int, float] = {}
    hooks: list[Any] = []

    def before(module: nn.Module, inputs: Any) -> None:
        begun[id(module)] = time.perf_counter()

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        kind = type(module).__name__
        totals[kind] = totals.get(kind, 0.0) + time.perf_counter() - begun[id(module)]

    for module in network.modules():
        if not any(module.children()):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
