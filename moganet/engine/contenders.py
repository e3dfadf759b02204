"""What a benchmark compares: models of ours and of timm, each in the form in which it is fastest here."""

import logging
import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.engine.masking import Run
from moganet.errors import ConfigError, MogaNetError
from moganet.inference import load
from moganet.inference.runs.openvino import OpenVinoRun
from moganet.inference.runtimes import EagerRun, Runtime, choose_runtime
from moganet.network import VARIANTS, build_network, full_name

logger = logging.getLogger(__name__)
TIMM = "timm:"
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


@dataclass(frozen=True)
class Contender:
    """A model in a benchmark: its name, and a callable from images (B, C, H, W) to logits (B, classes)."""

    name: str
    run: Run
    runtime: str
    parameters: int
    channels: int
    size: int  # pixels a side


def with_alternatives(models: Sequence[str], alternatives: bool | None) -> list[str]:
    """Give the models to compare: those named, else moganet_xtiny; and for variants timm's beside them.

    alternatives: whether to add those; None adds them where no model is named.
    """
    chosen = list(models) or ["moganet_xtiny"]
    add = not models if alternatives is None else alternatives
    found = [f"{TIMM}{name}" for model in chosen for name in ALTERNATIVES.get(full_name(model), ())] if add else []
    return list(dict.fromkeys([*chosen, *found]))


def timm_network(name: str, size: int | None) -> nn.Module:
    """Build a timm model without weights. Raises ConfigError for a name that timm does not know."""
    plain = name.removeprefix(TIMM)
    options: dict[str, Any] = {"img_size": size} if size and "swin" in plain else {}
    try:
        network: nn.Module = timm.create_model(plain, pretrained=False, **options)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"timm can't build {plain!r}: {str(error).splitlines()[0]}") from None
    return network


def contender(name: str, runtime: Runtime, precision: Precision, size: int | None) -> Contender:
    """Make a model ready: a MODEL or variant of ours, or "timm:NAME". Raises what `load` raises."""
    if name.startswith(TIMM):
        network = timm_network(name, size)
        run, chosen = run_timm(network.eval(), runtime, precision, size or 224)
        return Contender(name, run, chosen, count(network), 3, size or 224)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is untrained.*")  # speed does not depend on the weights
        predictor = load(name, runtime, precision)
    channels = predictor.config.preprocessing.channels
    side = size or max(predictor.config.preprocessing.size)
    predictor.logits(torch.zeros(1, channels, side, side))
    parameters = count(predictor.model) if predictor.has_module else 0
    return Contender(name, predictor.logits, predictor.runtime, parameters, channels, side)


def count(network: nn.Module) -> int:
    """Count parameters."""
    return sum(p.numel() for p in network.parameters())


def run_timm(network: nn.Module, runtime: Runtime, precision: Precision, size: int) -> tuple[Run, str]:
    """Run a timm model by the runtime that a model of ours would have; eagerly where that can't take it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = choose_runtime(runtime, device)
    if chosen == "openvino":
        try:
            made = OpenVinoRun(_to_openvino(network, size), precision, ("logits",))
            return (lambda x: torch.from_numpy(made(x.numpy())["logits"])), chosen
        except Exception as error:  # a tracer and a converter, with errors of many kinds
            logger.warning("OpenVINO can't take this timm model (%s); it runs eagerly", str(error).splitlines()[0])
    if chosen == "compile":
        network = torch.compile(network)  # type: ignore[assignment]
    eager = EagerRun(network.to(device), precision)
    return (lambda x: eager.tensors(x)["logits"]), chosen if chosen == "compile" else "eager"


def _to_openvino(network: nn.Module, size: int) -> Any:
    import openvino

    x = torch.zeros(2, 3, size, size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, x, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, example_input=x, input=[-1, 3, size, size])


def peak_memory(name: str, runtime: Runtime, precision: Precision, size: int | None, batch: int) -> float | None:
    """Give the largest memory, in MB, of a process of its own that predicts one batch; on a GPU, the GPU's.

    None where the process can't tell.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        try:
            return pool.apply(_peak_memory, (name, runtime, precision, size, batch))
        except MogaNetError:
            return None


def _peak_memory(name: str, runtime: Runtime, precision: Precision, size: int | None, batch: int) -> float:
    made = contender(name, runtime, precision, size)
    x: Tensor = torch.zeros(batch, made.channels, made.size, made.size)
    made.run(x)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform.startswith("linux"):  # where getrusage gives the parent's peak if that was larger
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used / 1e3


def build_for_training(name: str, size: int) -> nn.Module:
    """Build a network to train: a variant or "timm:NAME", or a MODEL's."""
    if name.startswith(TIMM):
        return timm_network(name, size)
    if full_name(name) in VARIANTS:
        return build_network(name)
    return load(name, "eager").model
