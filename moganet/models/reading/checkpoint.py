"""What every format is read into: tensors under the reference's names, and the function that they were trained with."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from moganet.config import Architecture, ChannelAggregation, Gate, Preprocessing
from moganet.errors import WeightsError
from moganet.models.choices import Choices, Weights
from moganet.models.description import ModelDescription
from moganet.models.reading.heads import backbone_of, head_of
from moganet.models.reading.sizes import size_of
from moganet.network import full_name, variant_of_shape
from moganet.notices import say
from moganet.tasks.task import TaskDescription

# The published accuracies of these two are those of the plain weights, of all others those of the EMA's.
PLAIN_WEIGHTS = ("moganet_xtiny", "moganet_tiny")
EMBEDDINGS = ("1.projection.3", "2.projection", "3.projection", "4.projection")  # the last convolution of each
COUNTER = "num_batches_tracked"  # the tensors of whole numbers
FUNCTION_GUESSES = ("gate", "channel_aggregation")
REFERENCE = "a guess: the file does not say; it is the reference's"
RELEASED_CLASSES = 1000  # every released classifier is ImageNet's


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors by the reference's names, and what the file says of them.

    weights: "plain" or "ema". reasons: why these weights, this gate and this channel aggregation, each a few words.
    guessed: which of these the file does not say. notes: where its tensors were found, and what was passed over.
    architecture, preprocessing, class_names: where the file states them. task: what it answers; None is a classifier.
    description: ours, which says all of this.
    read: under which keys beside the tensors that stands. unread: under which the file may say more, not read.
    """

    format: str
    state: Mapping[str, Tensor]
    gate: Gate = "single"
    channel_aggregation: ChannelAggregation = "reference"
    weights: Weights = "plain"
    reasons: Mapping[str, str] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    architecture: Architecture | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    task: TaskDescription | None = None
    description: ModelDescription | None = None
    read: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Say in one line what was chosen and why."""
        chosen = {
            "weights": f"{self.weights} weights",
            "gate": f"{self.gate} gate",
            "channel_aggregation": f"{self.channel_aggregation} channel aggregation",
        }
        return "; ".join([*(f"{what} ({self.reasons[key]})" for key, what in chosen.items()), *self.notes])

    def choose(self, choices: Choices) -> "Checkpoint":
        """Let the caller's function replace the file's, which is no guess then; `weights` is the readers' to choose."""
        asked = {name: value for name, value in choices.given().items() if name in FUNCTION_GUESSES}
        reasons = {**self.reasons, **{name: choices.why(name) for name in asked}}
        kept = tuple(name for name in self.guessed if name not in asked)
        return replace(self, **asked, reasons=reasons, guessed=kept)


def checked_state(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Give a state dict of dense tensors. Raises WeightsError for others, and for more bytes than the file has."""
    checked, claimed = {}, 0
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise WeightsError(f"{path} names tensors by other things than texts")
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise WeightsError(f"{path}: {name[:100]} is no dense tensor")
        if tensor.is_quantized or tensor.is_complex() or tensor.numel() == 0:
            raise WeightsError(f"{path}: {name[:100]} is no tensor of weights: {tensor.dtype} {tuple(tensor.shape)}")
        claimed += tensor.numel() * tensor.element_size()
        if claimed > (size := path.stat().st_size):
            said = f"to {name[:100]} {tuple(tensor.shape)} they claim {claimed:,} bytes; and the file has {size:,}"
            raise WeightsError(f"{path} lies about its tensors: {said}")
        checked[name] = tensor.detach()
    return checked


def check_values(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights with which nothing can be computed: NaN, infinities, negative variances, whole numbers.

    Raises WeightsError that names the first such tensor, how many of its values are so, and how many tensors. Says
    which hold only zeros.
    """
    whole = [name for name, tensor in state.items() if not (tensor.is_floating_point() or name.endswith(COUNTER))]
    if whole:
        said = (
            f"{_few(whole)} of its tensors hold {state[whole[0]].dtype}, as quantised weights do; save them in floats"
        )
        raise WeightsError(f"{path} can't be computed with: {said}")
    blank = [name for name, t in state.items() if (t.dim() > 1 or name.endswith("running_var")) and not t.any()]
    if blank:
        said = "hold only zeros, as after a download or a copy that ended early: its answers may mean nothing"
        say(f"{path.name}: {_few(blank)} of its {len(state)} tensors {said}", doubtful=True)
    wrong = {name: bad for name, tensor in state.items() if (bad := _wrong_values(name, tensor))}
    if wrong:
        name, (number, what) = next(iter(wrong.items()))
        more = f", and {len(wrong) - 1} tensors more have such values" if len(wrong) > 1 else ""
        said = f"{number:,} of the {state[name].numel():,} values of {name[:100]} are {what}{more}"
        why = "its training had diverged, or it is damaged: take an earlier checkpoint"
        raise WeightsError(f"{path} can't be computed with: {said}; {why}")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:3])
    return f"{len(names)} ({shown}{', …' if len(names) > 3 else ''})"


def _wrong_values(name: str, tensor: Tensor) -> tuple[int, str] | None:
    if not tensor.is_floating_point():
        return None
    if not math.isfinite(tensor.sum(dtype=torch.float32).item()):  # one pass without memory
        number = tensor.numel() - int(tensor.float().isfinite().sum())  # in the form in which they are computed with
        if number:
            return number, "NaN or infinite in float32"
    if name.endswith("running_var") and (number := int((tensor < 0).sum())):
        return number, "negative, which no variance is"
    return None


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of a state dict's names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_hash(state: Mapping[str, Tensor], sha256: str, path: Path) -> None:
    """Raise WeightsError where tensors do not have the hash that was recorded."""
    if hash_tensors(state) != sha256:
        said = "its tensors do not have the hash that was recorded; train or download it again"
        raise WeightsError(f"{path} is damaged: {said}")


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Read variant, classes and input channels off the tensors' shapes; the stem's stride leaves no trace in them.

    Shapes of no variant give a custom network, under xtiny's name. Raises WeightsError where they are not a MogaNet's.
    """
    state = checkpoint.state
    if (found := head_of(state)) is not None:
        head, classes = found
        return architecture_of(replace(checkpoint, state=backbone_of(state))).changed(head=head, num_classes=classes)
    embed_dims = [size_of(state, f"patch_embed{i}.weight", 0) for i in EMBEDDINGS]
    hidden = [size_of(state, f"blocks{i}.0.mlp.fc1.weight", 0) for i in (1, 2, 3, 4)]
    shape = (tuple(embed_dims), _depths(state), tuple(map(_ratio, hidden, embed_dims)))
    values = {
        "name": variant_of_shape(*shape) or "moganet_xtiny",
        **dict(zip(("embed_dims", "depths", "mlp_ratios"), shape, strict=True)),
        "num_classes": size_of(state, "head.weight", 0) if "head.weight" in state else 0,
        "in_chans": size_of(state, "patch_embed1.projection.0.weight", 1),
        "gate": checkpoint.gate,
        "channel_aggregation": checkpoint.channel_aggregation,
    }
    return Architecture.model_validate(values)


def prefers_plain(arch: Any, state: Mapping[str, Any]) -> bool:
    """Tell whether a network, by the name that its file states or else by its shapes, is of those released so."""
    if isinstance(arch, str) and full_name(arch).startswith("moganet_"):
        return full_name(arch) in PLAIN_WEIGHTS
    return _variant(state) in PLAIN_WEIGHTS


def is_release(state: Mapping[str, Any]) -> str | None:
    """Give the variant of which this may be a released classifier: its shapes, and ImageNet's classes; else None."""
    head = state.get("head.weight")
    is_imagenet = isinstance(head, Tensor) and head.dim() == 2 and head.shape[0] == RELEASED_CLASSES
    return _variant(state) if is_imagenet else None


def _variant(state: Mapping[str, Any]) -> str | None:
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    try:
        architecture = architecture_of(Checkpoint("", tensors))
    except (WeightsError, ValidationError):
        return None
    return variant_of_shape(architecture.embed_dims or (), architecture.depths or (), architecture.mlp_ratios or ())


def _depths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    depths = []
    for stage in (1, 2, 3, 4):
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
