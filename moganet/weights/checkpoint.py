"""What every format is read into: tensors under the reference's names, and the function that they were trained with."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from moganet.config import Architecture, ChannelAggregation, Gate, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.network import full_name, variant_of_shape

# The published accuracies of these two are those of the plain weights, of all others those of the EMA's.
PLAIN_WEIGHTS = ("moganet_xtiny", "moganet_tiny")
NUM_STAGES = 4
Weights = Literal["plain", "ema"]


@dataclass(frozen=True)
class Choices:
    """What the caller decides instead of the file; None leaves it to the file.

    num_classes: another number than the file's starts the head anew. in_chans: another number adapts the stem.
    Raises ConfigError for a value that does not exist.
    """

    weights: Weights | None = None
    gate: Gate | None = None
    channel_aggregation: ChannelAggregation | None = None
    stem_stride: int | None = None
    num_classes: int | None = None
    in_chans: int | None = None

    def __post_init__(self) -> None:
        known = {"weights": get_args(Weights), "gate": get_args(Gate), "stem_stride": (4, 2, 1)}
        known["channel_aggregation"] = get_args(ChannelAggregation)
        for name, values in known.items():
            given = getattr(self, name)
            if given is not None and given not in values:
                raise ConfigError(f"{name} is {given!r}; choose one of {', '.join(map(str, values))}")
        for name, least in (("num_classes", 0), ("in_chans", 1)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise ConfigError(f"{name} is {given}; it must be at least {least}")


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors by the reference's names, and what the file says of them.

    weights: "plain" or "ema". reasons: why these weights, this gate and this channel aggregation, each a few words.
    architecture, preprocessing, class_names: where the file states them. description: a model description's JSON.
    """

    format: str
    state: Mapping[str, Tensor]
    gate: Gate
    channel_aggregation: ChannelAggregation
    weights: Weights
    reasons: Mapping[str, str]
    architecture: Architecture | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    description: str | None = None

    @property
    def reason(self) -> str:
        """Say in one line what was chosen and why."""
        chosen = {
            "weights": f"{self.weights} weights",
            "gate": f"{self.gate} gate",
            "channel_aggregation": f"{self.channel_aggregation} channel aggregation",
        }
        return "; ".join(f"{what} ({self.reasons[key]})" for key, what in chosen.items())

    def choose(self, choices: Choices) -> "Checkpoint":
        """Let the caller's function replace the file's; `weights` is the readers' to choose."""
        asked = {
            name: getattr(choices, name)
            for name in ("gate", "channel_aggregation")
            if getattr(choices, name) is not None
        }
        return replace(self, **asked, reasons={**self.reasons, **dict.fromkeys(asked, "as asked")})


def only_plain(asked: Weights | None, path: Path) -> str:
    """Give the reason for plain weights where a file has no others. Raises WeightsError where EMA was asked for."""
    if asked == "ema":
        raise WeightsError(f"{path} holds no EMA weights; leave --weights away")
    return "as asked" if asked else "the only ones in the file"


def without_wrappers(names: Iterable[Any]) -> dict[str, str]:
    """Map those names that are texts to themselves without what DDP and torch.compile put before them."""
    return {name: re.sub(r"^(?:module\.|_orig_mod\.)+", "", name) for name in names if isinstance(name, str)}


def checked_state(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Give a state dict of dense tensors, without wrappers' prefixes.

    Raises WeightsError for what is no dense tensor, and for tensors that claim more bytes than the file has.
    """
    checked, claimed = {}, 0
    names = without_wrappers(state)
    if len(names) < len(state):
        raise WeightsError(f"{path} names tensors by other things than texts")
    for name, tensor in zip(names.values(), state.values(), strict=True):
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise WeightsError(f"{path}: {name[:100]} is no dense tensor")
        if tensor.is_quantized or tensor.is_complex() or tensor.numel() == 0:
            raise WeightsError(f"{path}: {name[:100]} is no tensor of weights: {tensor.dtype} {tuple(tensor.shape)}")
        claimed += tensor.numel() * tensor.element_size()
        if claimed > path.stat().st_size:
            raise WeightsError(
                f"{path} lies about its tensors: to {name[:100]} {tuple(tensor.shape)} they claim {claimed:,} bytes; "
                f"and the file has {path.stat().st_size:,}"
            )
        checked[name] = tensor.detach()
    return checked


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError that names the first tensors that are missing, unexpected, or of another shape."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{n} is {tuple(state[n].shape)}, not {tuple(own[n].shape)}"
        for n in own.keys() & state.keys()
        if state[n].shape != own[n].shape
    ]
    if missing or unexpected or shapes:
        parts = [f"missing: {', '.join(missing[:3])}"] if missing else []
        parts += [f"unexpected: {', '.join(name[:80] for name in unexpected[:3])}"] if unexpected else []
        parts += sorted(shapes)[:3]
        raise WeightsError(f"the tensors of {path} do not fit the network; {'; '.join(parts)}")


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Read variant, classes and input channels off the tensors' shapes; the stem's stride leaves no trace in them.

    Shapes of no variant give a custom network, under xtiny's name. Raises WeightsError where they are not a MogaNet's.
    """
    state = checkpoint.state
    embed_dims = [_size(state, "patch_embed1.projection.3.weight", 0)]
    embed_dims += [_size(state, f"patch_embed{i}.projection.weight", 0) for i in (2, 3, 4)]
    hidden = [_size(state, f"blocks{i}.0.mlp.fc1.weight", 0) for i in (1, 2, 3, 4)]
    shape = (tuple(embed_dims), _depths(state), tuple(map(_ratio, hidden, embed_dims)))
    values = {
        "name": variant_of_shape(*shape) or "moganet_xtiny",
        "embed_dims": shape[0],
        "depths": shape[1],
        "mlp_ratios": shape[2],
        "num_classes": _size(state, "head.weight", 0) if "head.weight" in state else 0,
        "in_chans": _size(state, "patch_embed1.projection.0.weight", 1),
        "gate": checkpoint.gate,
        "channel_aggregation": checkpoint.channel_aggregation,
    }
    return Architecture.model_validate(values)


def variant_name(arch: Any, state: Mapping[str, Tensor]) -> str:
    """Give a variant by the name that a file states, else by its tensors' shapes, else "an unknown variant"."""
    if isinstance(arch, str) and full_name(arch).startswith("moganet_"):
        return full_name(arch)
    try:
        blank = dict.fromkeys(("weights", "gate", "channel_aggregation"), "")
        architecture = architecture_of(Checkpoint("", state, "single", "reference", "plain", blank))
    except WeightsError:
        return "an unknown variant"
    shape = (architecture.embed_dims or (), architecture.depths or (), architecture.mlp_ratios or ())
    return variant_of_shape(*shape) or "a custom network"


def _size(state: Mapping[str, Tensor], name: str, dimension: int) -> int:
    if name not in state:
        found = ", ".join(f"{n[:60]} {tuple(t.shape)}" for n, t in list(state.items())[:3])
        raise WeightsError(f"these are not a MogaNet's tensors: missing: {name}; unexpected: {found or 'nothing'}")
    shape = state[name].shape
    if len(shape) <= dimension or shape[dimension] < 1:
        raise WeightsError(f"these are not a MogaNet's tensors: {name} is {tuple(shape)}")
    return shape[dimension]


def _depths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    depths = []
    for stage in range(1, NUM_STAGES + 1):
        found = {m[1] for m in (re.match(rf"blocks{stage}\.(\d+)\.", name) for name in state) if m}
        missing = next((i for i in range(len(found)) if str(i) not in found), None)
        if missing is not None:
            raise WeightsError(f"these are not a MogaNet's tensors: blocks{stage}.{missing} is missing")
        depths.append(len(found))
    return tuple(depths)


def _ratio(hidden: int, dim: int) -> float:
    """Give the ratio from which the network computes this hidden width, int(dim * ratio)."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)
