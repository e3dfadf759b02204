"""`benchmark`: how fast a run's parts are on this machine."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from moganet.data.module import Batch, ImageDataModule
from moganet.engine.assemble import build_module, build_task
from moganet.engine.doctor import environment
from moganet.engine.memory import keep_freed_memory
from moganet.engine.train import prepare
from moganet.tasks.classify import build_optimizer

ROUNDS = 5


def benchmark_data(
    recipe: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> dict[str, Any]:
    """Measure what a recipe's data pipeline feeds against what its network trains, in turns, on the CPU or the GPU.

    Gives `images_per_second` that the pipeline sustains alone (decoding, augmentation, mixing),
    `training_images_per_second` of whole optimizer steps on a ready batch, and their `ratio`; medians of five rounds.
    """
    settings, dataset = prepare(recipe, data, overrides)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    device = torch.device("cuda" if torch.cuda.is_available() and settings.trainer.accelerator != "cpu" else "cpu")
    module, task = build_module(settings, dataset), build_task(settings, dataset).to(device)
    if device.type == "cpu":
        keep_freed_memory()
    optimizer = build_optimizer(task.network, task.optimizer_config)
    loader = module.train_dataloader()
    batches = _endless(loader, module, device)
    batch = next(batches)  # the workers' start is not measured
    _step(task.network, task.criterion, optimizer, batch)
    # While the network trained, the workers went ahead: what they have ready is taken first, and not measured.
    ready = loader.num_workers * (loader.prefetch_factor or 0)
    feeding, training = [], []
    for _ in range(ROUNDS):
        for _ in range(ready):
            next(batches)
        start = time.perf_counter()
        fed = [len(next(batches).images) for _ in range(ready + 1)]
        feeding.append(sum(fed) / (time.perf_counter() - start))
        start = time.perf_counter()
        _step(task.network, task.criterion, optimizer, batch)
        training.append(len(batch.images) / (time.perf_counter() - start))
    return {
        "recipe": settings.name,
        "data": dataset.spec,
        "size": list(settings.preprocessing.size),
        "batch_size": settings.data.batch_size,
        "workers": settings.data.workers,
        "images_per_second": median(feeding),
        "training_images_per_second": median(training),
        "ratio": median(feeding) / median(training),
        "environment": environment(),
    }


def _endless(loader: DataLoader[Batch], module: ImageDataModule, device: torch.device) -> Iterator[Batch]:
    while True:
        for batch in loader:
            yield module.augmented(Batch(batch.images.to(device), batch.labels.to(device)))


def _step(network: torch.nn.Module, criterion: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    network.train()
    optimizer.zero_grad()
    criterion(network(batch.images), batch.labels).backward()
    optimizer.step()
    if batch.images.is_cuda:
        torch.cuda.synchronize()
