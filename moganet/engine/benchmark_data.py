"""`benchmark_data`: what a recipe's pipeline feeds against what its network trains; and a step of it, to be timed."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from moganet.config import ResolvedRecipe, with_short
from moganet.data import Dataset
from moganet.data.loader import AHEAD, Batch
from moganet.data.module import ImageDataModule
from moganet.devices import choose_device
from moganet.engine.doctor import Environment, environment
from moganet.machine import half_type, keep_freed_memory
from moganet.notices import noted
from moganet.processors import threaded
from moganet.results import Result
from moganet.tasks.module import TaskModule
from moganet.tasks.optimize import build_optimizer
from moganet.training.assemble import build_module, build_task
from moganet.training.draws import own_draws
from moganet.training.resolve import prepare

if TYPE_CHECKING:
    from moganet.data.in_python import Data

Loss = Callable[[torch.Tensor, Any], torch.Tensor]  # of a batch's images and targets
ROUNDS = 5


class OfRecipe(Result):
    """What was measured of a recipe."""

    recipe: str
    data: str
    size: list[int]
    batch_size: int
    precision: str


class PipelineSpeed(OfRecipe):
    """What a recipe's data pipeline feeds, and what its network trains."""

    workers: int | None
    images_per_second: float
    training_images_per_second: float
    ratio: float
    environment: Environment


@noted
@threaded
@own_draws()
def benchmark_data(
    recipe: str | Path,
    data: "Data | None" = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    device: str | None = None,
    threads: int | None = None,
) -> PipelineSpeed:
    """Measure what a recipe's data pipeline feeds against what its network trains, in turns, on the device.

    Gives `images_per_second` that the pipeline sustains alone (decoding, augmentation, mixing),
    `training_images_per_second` of whole optimizer steps on a ready batch, and their `ratio`; medians of five rounds.
    """
    settings, dataset, module, task = ready_to_train(recipe, data, with_short(overrides, {"device": device}))
    optimizer = build_optimizer(task.network, task.learning.optimizer)
    loader = module.train_dataloader()
    batches = (augmented(batch, module, task.device) for _ in itertools.count() for batch in loader)
    batch = next(batches)  # the workers' start is not measured
    train = partial(step, partial(loss_of, task), optimizer, batch, half_type(settings.trainer.precision))
    train()
    # While the network trained, the workers went ahead: what they have ready is taken first, and not measured.
    ready = loader.workers * AHEAD
    feeding, training = [], []
    for _ in range(ROUNDS):
        for _ in range(ready):
            next(batches)
        start = time.perf_counter()
        fed = [len(next(batches).images) for _ in range(ready + 1)]
        feeding.append(sum(fed) / (time.perf_counter() - start))
        start = time.perf_counter()
        train()
        training.append(len(batch.images) / (time.perf_counter() - start))
    return PipelineSpeed(
        **measured_on(settings, dataset),
        workers=settings.data.workers,
        images_per_second=median(feeding),
        training_images_per_second=median(training),
        ratio=median(feeding) / median(training),
    )


def ready_to_train(
    recipe: str | Path,
    data: "Data | None",
    overrides: Mapping[str, Any] | Sequence[str],
    start: str | Path | None = None,
) -> tuple[ResolvedRecipe, Dataset, ImageDataModule, TaskModule]:
    """Give what a step of a recipe's training takes, on its device."""
    settings, dataset = prepare(recipe, data, overrides, start)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    device = choose_device(settings.trainer.accelerator)
    module, task = build_module(settings, dataset), build_task(settings, dataset).to(device)
    if device == "cpu":
        keep_freed_memory()
    task.train()
    return settings, dataset, module, task


def measured_on(settings: ResolvedRecipe, dataset: Dataset) -> dict[str, Any]:
    """Give the fields of `OfRecipe`, and the environment."""
    size, batch_size, precision = (
        list(settings.preprocessing.size),
        settings.data.batch_size,
        settings.trainer.precision,
    )
    known = {"recipe": settings.name, "data": dataset.spec, "size": size, "batch_size": batch_size}
    return {**known, "precision": precision, "environment": environment()}


def augmented(batch: Batch, module: ImageDataModule, device: torch.device) -> Batch:
    """Give a batch on its device, as the network trains on it."""
    there: Batch = module.transfer_batch_to_device(batch._replace(seed=None), device, 0)
    return module.augmented(there)


def loss_of(task: TaskModule, images: torch.Tensor, targets: Any) -> torch.Tensor:
    """Give the loss by which a task learns from a batch."""
    return task.step_of(images, targets)[1]


def loss_in(loss: Loss, batch: Batch, half: torch.dtype | None) -> torch.Tensor:
    """Give the loss of a batch, computed in a half type where one is given."""
    with torch.autocast(batch.images.device.type, half, enabled=half is not None):
        return loss(batch.images, batch.targets)


def step(loss: Loss, optimizer: torch.optim.Optimizer, batch: Batch, half: torch.dtype | None) -> None:
    """Do a whole step of an optimizer; on a GPU it is done when this returns."""
    optimizer.zero_grad()
    loss_in(loss, batch, half).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if batch.images.is_cuda:
        torch.cuda.synchronize(batch.images.device)
