"""`benchmark`: how fast a run's parts are on this machine."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from moganet.config import OptimizerConfig, Precision
from moganet.data.loader import AHEAD, Batch, Loader
from moganet.data.module import ImageDataModule
from moganet.engine.contenders import (
    TIMM,
    Contender,
    build_for_training,
    contender,
    count,
    peak_memory,
    with_alternatives,
)
from moganet.engine.doctor import environment
from moganet.errors import ConfigError
from moganet.inference.runtimes import Runtime
from moganet.machine import HALF, has_fast_bf16, keep_freed_memory
from moganet.notices import noted
from moganet.report import check_picture_name
from moganet.report.rates import draw_rates
from moganet.tasks.optimize import build_optimizer
from moganet.training.assemble import build_module, build_task
from moganet.training.resolve import prepare

ROUNDS = 5
LATENCIES = 30  # single images a model
SECONDS_A_ROUND = 1.0  # that a model is given for images/s, at the least one batch


@noted
def benchmark_infer(
    models: Sequence[str] = (),
    size: int | None = None,
    batch: int = 32,
    *,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    alternatives: bool | None = None,
    picture: str | Path | None = None,
) -> dict[str, Any]:
    """Measure models in turns in one run: latency of one image, images/s of a batch, and peak memory.

    models: MODELs, variants, or "timm:NAME"; none is moganet_xtiny with some of timm's, which `alternatives` asks for
    or leaves out; accuracies differ, and are not compared. size: pixels a side [each model's own]. picture: a file for
    the bars.
    Gives for one model a flat object with `images_per_second` (median of five rounds), `latency_p50` and
    `latency_p95` in milliseconds, and `peak_memory_mb`; for several `{"models": [one such object each]}`.
    """
    _check_numbers(size, batch)
    if picture is not None:
        check_picture_name(Path(picture))
    keep_freed_memory()
    contenders = [contender(name, runtime, precision, size) for name in with_alternatives(models, alternatives)]
    inputs = [torch.randn(batch, made.channels, *_side(made, size)) for made in contenders]
    runs = [partial(made.run, x) for made, x in zip(contenders, inputs, strict=True)]
    times = in_turns(runs, ROUNDS, SECONDS_A_ROUND)
    single = in_turns([partial(made.run, x[:1]) for made, x in zip(contenders, inputs, strict=True)], LATENCIES)
    rows = []
    for made, x, taken, waits in zip(contenders, inputs, times, single, strict=True):
        p50, p95 = (1e3 * float(np.percentile(waits, share)) for share in (50, 95))
        rows.append(
            {
                "name": made.name,
                "images_per_second": batch / median(taken),
                "latency_p50": p50,
                "latency_p95": p95,
                "peak_memory_mb": peak_memory(made.name, runtime, precision, size, batch),
                "parameters": made.parameters,
                "runtime": made.runtime,
                "size": list(x.shape[2:]),
            }
        )
    return _result(rows, {"batch_size": batch, "precision": precision, "rounds": ROUNDS}, picture, "inference")


@noted
def benchmark_train(
    models: Sequence[str] = (),
    size: int = 224,
    batch: int = 32,
    *,
    precision: Precision | None = None,
    alternatives: bool | None = None,
    picture: str | Path | None = None,
) -> dict[str, Any]:
    """Measure whole optimizer steps of models in turns in one run, each in the fastest settings of this machine.

    models, alternatives, picture: as for `benchmark_infer`.
    precision: None takes bf16 where the device has units for it, else f32.
    Gives, as `benchmark_infer`, `images_per_second`, the `settings` and the peak memory of a GPU.
    """
    _check_numbers(size, batch)
    if picture is not None:
        check_picture_name(Path(picture))
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if precision is None:
        precision = "bf16" if has_fast_bf16(device) else "f32"
    names = with_alternatives(models, alternatives)
    rows, times = [], []
    networks = [build_for_training(name, size).to(device).to(memory_format=torch.channels_last) for name in names]
    steps = [_training_step(network, size, batch, precision, device) for network in networks]
    times = in_turns(steps, ROUNDS)
    for name, network, taken in zip(names, networks, times, strict=True):
        rows.append(
            {
                "name": name,
                "images_per_second": batch / median(taken),
                "parameters": count(network),
                "size": [size, size],
            }
        )
    settings = f"{precision}, channels_last, AdamW (fused), random images and labels"
    settings += ", freed memory kept" if device.type == "cpu" else ""
    common: dict[str, Any] = {"batch_size": batch, "precision": precision, "settings": settings, "rounds": ROUNDS}
    if device.type == "cuda":
        common["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return _result(rows, common, picture, "training")


def in_turns(runs: Sequence[Callable[[], object]], rounds: int, seconds: float = 0.0) -> list[list[float]]:
    """Time callables in turns; give each one's seconds a call, one value a round. A first round is not counted.

    seconds: how long a callable is called again in a round, of which the mean counts.
    """
    times: list[list[float]] = [[] for _ in runs]
    gc.collect()
    for turn in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            start, calls = time.perf_counter(), 0
            while not calls or time.perf_counter() - start < (seconds if turn else 0.0):
                run()
                calls += 1
            if turn:
                taken.append((time.perf_counter() - start) / calls)
    return times


def _training_step(
    network: nn.Module, size: int, batch: int, precision: Precision, device: torch.device
) -> Callable[[], None]:
    optimizer = build_optimizer(network.train(), OptimizerConfig())
    channels = getattr(network, "in_chans", 3)
    images = torch.randn(batch, channels, size, size, device=device).to(memory_format=torch.channels_last)
    classes = int(getattr(network, "num_classes", 1000))
    labels = torch.randint(0, classes, (batch,), device=device)
    return partial(_step, network, F.cross_entropy, optimizer, Batch(images, labels), HALF.get(precision))


def _check_numbers(size: int | None, batch: int) -> None:
    if batch < 1 or (size is not None and size < 1):
        raise ConfigError(f"size is {size} and batch is {batch}; both must be at least 1")


def _side(made: Contender, size: int | None) -> tuple[int, int]:
    side = size or made.size
    return (side, side)


def _result(
    rows: list[dict[str, Any]], common: dict[str, Any], picture: str | Path | None, what: str
) -> dict[str, Any]:
    if picture is not None:
        names, ours = [row["name"] for row in rows], [not row["name"].startswith(TIMM) for row in rows]
        side = rows[0]["size"][0]
        title = f"{what} at {side} px, {common['batch_size']} at a time, {common['precision']}"
        draw_rates(names, [row["images_per_second"] for row in rows], ours, Path(picture), title)
        common["picture"] = str(picture)
    common["environment"] = environment()
    return {**rows[0], **common} if len(rows) == 1 else {"models": rows, **common}


@noted
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
    optimizer = build_optimizer(task.network, task.learning.optimizer)
    loader = module.train_dataloader()
    batches = _endless(loader, module, device)
    batch = next(batches)  # the workers' start is not measured
    step = partial(_step, task.network.train(), task.loss_of, optimizer, batch, HALF.get(settings.trainer.precision))
    step()
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
        step()
        training.append(len(batch.images) / (time.perf_counter() - start))
    return {
        "recipe": settings.name,
        "data": dataset.spec,
        "size": list(settings.preprocessing.size),
        "batch_size": settings.data.batch_size,
        "precision": settings.trainer.precision,
        "workers": settings.data.workers,
        "images_per_second": median(feeding),
        "training_images_per_second": median(training),
        "ratio": median(feeding) / median(training),
        "environment": environment(),
    }


def _endless(loader: Loader, module: ImageDataModule, device: torch.device) -> Iterator[Batch]:
    while True:
        for batch in loader:
            yield module.augmented(Batch(batch.images.to(device), batch.targets.to(device)))


def _step(
    network: nn.Module,
    criterion: Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    half: torch.dtype | None,
) -> None:
    optimizer.zero_grad()
    with torch.autocast(batch.images.device.type, half, enabled=half is not None):
        loss = criterion(network(batch.images), batch.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if batch.images.is_cuda:
        torch.cuda.synchronize()
