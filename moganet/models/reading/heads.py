"""Which head stands on a network, and for how many classes, read off the shapes of its tensors."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from moganet.config import FpnHead, HeatmapHead, MapsHead, UperHead
from moganet.errors import WeightsError
from moganet.models.reading.finders import LATERAL, finder_of
from moganet.models.reading.sizes import size_of

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
BACKBONE, CLASSES = "backbone.", "conv_seg.weight"
HEADS = ("neck.", "decode_head.", "auxiliary_head.")
DECODE, AUXILIARY = f"decode_head.{CLASSES}", f"auxiliary_head.{CLASSES}"
KEYPOINT = "keypoint_head."
FINAL = f"{KEYPOINT}final_layer.weight"
DECONVOLUTIONS = re.compile(rf"{re.escape(KEYPOINT)}deconv_layers\.(\d+)\.weight")
LEVEL, POOLED = "decode_head.scale_heads.", "decode_head.psp_modules."


def backbone_of(state: Mapping[str, Value]) -> dict[str, Value]:
    """Give the part of a network that is its backbone, by the names that it has alone."""
    return {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}


def names_in_backbone(name: str) -> tuple[str, str, str]:
    """Give the names that a part of a network may have in a backbone: timm flattens some, and nests others."""
    return f"{BACKBONE}{name}", f"{BACKBONE}{name.replace('.', '_', 1)}", f"{BACKBONE}model.{name}"


def has_head(state: Mapping[str, object]) -> bool:
    """Tell whether names are of a segmenter with one of the reference's heads."""
    is_fpn = LATERAL in state and any(name.startswith(LEVEL) for name in state)
    return DECODE in state and (is_fpn or any(name.startswith(POOLED) for name in state))


def has_keypoint_head(state: Mapping[str, object]) -> bool:
    """Tell whether names are of a network for key points with the reference's head."""
    return FINAL in state


def _keypoint_head_of(state: Mapping[str, "Tensor"]) -> tuple[HeatmapHead, int]:
    found = {int(m[1]): m[0] for m in map(DECONVOLUTIONS.fullmatch, state) if m}
    convolutions = [found[number] for number in sorted(found) if state[found[number]].dim() > 1]
    widths = tuple(size_of(state, name, 1) for name in convolutions)
    if any(tuple(state[name].shape[2:]) != (4, 4) for name in convolutions):
        raise WeightsError(
            f"{convolutions[0]} is {tuple(state[convolutions[0]].shape)}: kernels of 4x4 are known alone"
        )
    return HeatmapHead(channels=widths), size_of(state, FINAL, 0)


def head_of(state: Mapping[str, "Tensor"]) -> tuple[MapsHead, int] | None:
    """Give a network's head and its number of classes; None where there is no head of the reference's.

    The sides to which UPerNet pools leave no trace: of four they are the reference's, of others 1, which is a stand-in.
    """
    if has_keypoint_head(state):
        return _keypoint_head_of(state)
    if not has_head(state):
        return finder_of(state)
    classes, width = (size_of(state, DECODE, dimension) for dimension in (0, 1))
    auxiliary = size_of(state, AUXILIARY, 1) if AUXILIARY in state else None
    if LATERAL in state:
        return FpnHead(neck=size_of(state, LATERAL, 0), channels=width, auxiliary=auxiliary), classes
    number = len({name.removeprefix(POOLED).partition(".")[0] for name in state if name.startswith(POOLED)})
    pools = UperHead().pools
    return UperHead(
        channels=width, auxiliary=auxiliary, pools=pools if number == len(pools) else (1,) * number
    ), classes
