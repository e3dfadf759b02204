"""`benchmark_infer` and `benchmark_train`: how fast networks are on this machine, several in turns."""

import copy
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from moganet.config import OptimizerConfig, Precision
from moganet.data.loader import Batch
from moganet.engine.benchmark_data import ROUNDS, step
from moganet.engine.doctor import Environment, environment
from moganet.errors import ConfigError, MogaNetError
from moganet.inference import Predictor
from moganet.inference.load import as_predictor, load
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.machine import half_type, has_fast_bf16, in_turns, keep_freed_memory
from moganet.models.timms import TIMM, is_timms
from moganet.network import full_name
from moganet.network.cost import count_parameters
from moganet.notices import noted
from moganet.processors import threaded
from moganet.report import check_picture_name
from moganet.report.comparisons import draw_rates
from moganet.results import Record, Result
from moganet.tasks.optimize import build_optimizer

if TYPE_CHECKING:
    Models = str | Predictor | Sequence[str | Predictor]

LATENCIES = 30  # single images a model
SECONDS_A_ROUND = 1.0  # that a model is given for images/s, at the least one batch
# timm's models that stand beside a variant here. Their speed alone is compared: no accuracy is measured or claimed.
ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "moganet_nano": ("mobilenetv3_small_100", "resnet18"),
    "moganet_xtiny": ("mobilenetv3_large_100", "efficientnet_b0", "regnety_008"),
    "moganet_tiny": ("efficientnet_b1", "convnext_pico", "regnety_016"),
    "moganet_small": ("convnext_small", "swin_small_patch4_window7_224"),
    "moganet_base": ("convnext_base", "swin_base_patch4_window7_224"),
    "moganet_large": ("convnext_large", "swin_large_patch4_window7_224"),
    "moganet_xlarge": ("convnext_xlarge",),
}


class Speed(Record):
    """How fast a network is. latencies: of one image, in milliseconds. peak_memory_mb: None where it can't be told."""

    name: str
    images_per_second: float
    latency_p50: float | None = None
    latency_p95: float | None = None
    peak_memory_mb: float | None = None
    parameters: int
    runtime: str | None = None
    size: list[int]


class _Measured(Result):
    """How speeds were measured. settings: of training."""

    batch_size: int
    precision: str
    settings: str | None = None
    rounds: int
    peak_memory_mb: float | None = None
    picture: str | None = None
    environment: Environment


class Speeds(_Measured):
    """How fast several networks are."""

    models: tuple[Speed, ...]


class SpeedOfOne(Speed, _Measured):
    """How fast the one network is that was asked for."""


@noted
@threaded
def benchmark_infer(
    models: "Models" = (),
    size: int | None = None,
    batch: int = 32,
    *,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    alternatives: bool | None = None,
    picture: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Speeds | SpeedOfOne:
    """Measure models in turns in one run: latency of one image, images/s of a batch, and peak memory.

    models: MODELs, variants, "timm:NAME", Predictors; none is moganet_xtiny with some of timm's, which `alternatives`
    asks for or leaves out; accuracies differ, and are not compared. size: pixels a side [own]. picture: a file for
    the bars. device, threads, choices: as in `load`, for all of them.
    Gives for one model a flat object with `images_per_second` (median of five rounds), `latency_p50` and
    `latency_p95` in milliseconds, and `peak_memory_mb`; for several `{"models": [one such object each]}`.
    """
    _check(size, batch, picture)
    keep_freed_memory()
    names = with_alternatives(_each(models), alternatives)
    openers = [partial(open_unpublished, name, size, runtime, precision, device=device, **choices) for name in names]
    predictors = [opener() for opener in openers]
    inputs = [torch.randn(batch, *_shape(one, size)) for one in predictors]
    asked = list(zip(predictors, inputs, strict=True))
    times = in_turns([partial(one.logits, x) for one, x in asked], ROUNDS, SECONDS_A_ROUND)
    single = in_turns([partial(one.logits, x[:1]) for one, x in asked], LATENCIES)
    rows = []
    for one, name, opener, x, taken, waits in zip(predictors, names, openers, inputs, times, single, strict=True):
        p50, p95 = (1e3 * float(np.percentile(waits, share)) for share in (50, 95))
        peak = peak_memory(opener, x.shape) if isinstance(name, str) else None  # a Predictor is of this process
        waited = {"latency_p50": p50, "latency_p95": p95, "peak_memory_mb": peak}
        rows.append(_speed(one, batch / median(taken), list(x.shape[2:]), **waited, runtime=one.runtime))
    return _result(rows, {"batch_size": batch, "precision": precision, "rounds": ROUNDS}, picture, "inference")


@noted
@threaded
def benchmark_train(
    models: "Models" = (),
    size: int = 224,
    batch: int = 32,
    *,
    precision: Precision | None = None,
    alternatives: bool | None = None,
    picture: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Speeds | SpeedOfOne:
    """Measure whole optimizer steps of models in turns in one run, each in the fastest settings of this machine.

    models, alternatives, picture, device, threads, choices: as for `benchmark_infer`.
    precision: None takes bf16 where the device has units for it, else f32.
    Gives, as `benchmark_infer`, `images_per_second`, the `settings` and the peak memory of a GPU.
    """
    _check(size, batch, picture)
    keep_freed_memory()
    names = with_alternatives(_each(models), alternatives)
    predictors = [open_unpublished(name, size, device=device, **choices) for name in names]
    on = predictors[0].device
    precision = precision or ("bf16" if has_fast_bf16(on) else "f32")
    times = in_turns([_training_step(one, size, batch, precision) for one in predictors], ROUNDS)
    rows = [_speed(one, batch / median(taken), [size, size]) for one, taken in zip(predictors, times, strict=True)]
    settings = f"{precision}, channels_last, AdamW (fused), random images and labels"
    settings += ", freed memory kept" if on.type == "cpu" else ""
    common: dict[str, Any] = {"batch_size": batch, "precision": precision, "settings": settings, "rounds": ROUNDS}
    if on.type == "cuda":
        common["peak_memory_mb"] = torch.cuda.max_memory_allocated(torch.device(on)) / 1e6
    return _result(rows, common, picture, "training")


def _each(models: "Models") -> Sequence[str | Predictor]:
    return [models] if isinstance(models, str | Predictor) else models


def with_alternatives(models: Sequence[str | Predictor], alternatives: bool | None) -> list[str | Predictor]:
    """Give the models to compare: those named, else moganet_xtiny; and for variants timm's beside them.

    alternatives: whether to add those; None adds them where no model is named.
    """
    chosen = list(models) or ["moganet_xtiny"]
    add = not models if alternatives is None else alternatives
    named = [full_name(model) for model in chosen if isinstance(model, str)]
    found = [f"{TIMM}{name}" for model in named for name in ALTERNATIVES.get(model, ())] if add else []
    return list(dict.fromkeys([*chosen, *found]))


def open_unpublished(
    name: str | Predictor, size: int | None, runtime: Runtime = "auto", precision: Precision = "f32", **choices: Any
) -> Predictor:
    """Open a MODEL; of timm's networks no weights are downloaded, since speed does not depend on them."""
    if isinstance(name, Predictor):
        return as_predictor(name, runtime, precision, **choices)
    choices |= {"pretrained": False} if is_timms(name) else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is untrained.*")
        predictor = load(name, runtime, precision, **choices)
    network: Any = predictor.model if predictor.has_module else None
    if size is None or not hasattr(network, "set_input_size"):
        return predictor
    network.set_input_size((size, size))  # of timm's, which are built for one size
    config = predictor.config.changed(preprocessing=predictor.config.preprocessing.changed(size=(size, size)))
    known: Any = {"trained": predictor.trained, "name_of_model": name, "where": predictor.where}
    return open_predictor(network, config, runtime, precision, **known)


def _speed(one: Predictor, rate: float, size: list[int], **known: Any) -> Speed:
    number = count_parameters(one.model) if one.has_module else 0
    return Speed(name=one.name_of_model, images_per_second=rate, parameters=number, size=size, **known)


def _shape(predictor: Predictor, size: int | None) -> tuple[int, int, int]:
    preprocessing = predictor.config.preprocessing
    side = size or (max if preprocessing.one_size else min)(preprocessing.size)
    return preprocessing.channels, side, side


def peak_memory(opener: Callable[[], Predictor], shape: Sequence[int]) -> float | None:
    """Give the most MB that a process of its own takes to predict a batch, a GPU's on one; None where it can't tell."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply(_peak_memory, (opener, tuple(shape)))
        except MogaNetError:
            return None


def _peak_memory(opener: Callable[[], Predictor], shape: tuple[int, ...]) -> float:
    predictor = opener()
    predictor.logits(torch.zeros(shape))
    if predictor.device.type == "cuda":
        return torch.cuda.max_memory_allocated(torch.device(predictor.device)) / 1e6
    if sys.platform.startswith("linux"):  # where getrusage gives the parent's peak if that was larger
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used / 1e3


def _training_step(predictor: Predictor, size: int, batch: int, precision: Precision) -> Callable[[], None]:
    network, device = copy.deepcopy(predictor.model), predictor.device
    optimizer = build_optimizer(network.train(), OptimizerConfig())
    images = torch.randn(batch, *_shape(predictor, size), device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, max(1, len(predictor.class_names)), (batch,), device=device)

    def loss(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(images), labels)

    return partial(step, loss, optimizer, Batch(images, labels), half_type(precision))


def _check(size: int | None, batch: int, picture: str | Path | None) -> None:
    if batch < 1 or (size is not None and size < 1):
        raise ConfigError(f"size is {size} and batch is {batch}; both must be at least 1")
    if picture is not None:
        check_picture_name(Path(picture))


def _result(
    rows: Sequence[Speed], common: dict[str, Any], picture: str | Path | None, what: str
) -> Speeds | SpeedOfOne:
    if picture is not None:
        names, ours = [row.name for row in rows], [not is_timms(row.name) for row in rows]
        title = f"{what} at {rows[0].size[0]} px, {common['batch_size']} at a time, {common['precision']}"
        draw_rates(names, [row.images_per_second for row in rows], ours, Path(picture), title)
        common["picture"] = str(picture)
    common["environment"] = environment()
    return SpeedOfOne(**rows[0], **common) if len(rows) == 1 else Speeds(models=tuple(rows), **common)
