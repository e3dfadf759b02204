"""Which head a segmenter has, and for how many classes, read off the shapes of its tensors."""

from collections.abc import Mapping

from torch import Tensor

from moganet.config import FpnHead, PixelHead, UperHead

BACKBONE, CLASSES = "backbone.", "conv_seg.weight"
HEADS = ("neck.", "decode_head.", "auxiliary_head.")
DECODE, AUXILIARY = f"decode_head.{CLASSES}", f"auxiliary_head.{CLASSES}"
LATERAL, LEVEL, POOLED = "neck.lateral_convs.0.conv.weight", "decode_head.scale_heads.", "decode_head.psp_modules."


def has_head(state: Mapping[str, object]) -> bool:
    """Tell whether names are of a segmenter with one of the reference's heads."""
    is_fpn = LATERAL in state and any(name.startswith(LEVEL) for name in state)
    return DECODE in state and (is_fpn or any(name.startswith(POOLED) for name in state))


def head_of(state: Mapping[str, Tensor]) -> tuple[PixelHead, int] | None:
    """Give a segmenter's head and its number of classes; None where there is no head of the reference's.

    The sides to which UPerNet pools leave no trace: they are the reference's.
    """
    if not has_head(state) or state[DECODE].dim() != 4:
        return None
    classes, width = state[DECODE].shape[:2]
    auxiliary = state[AUXILIARY].shape[1] if AUXILIARY in state and state[AUXILIARY].dim() == 4 else None
    if LATERAL in state:
        return FpnHead(neck=len(state[LATERAL]), channels=width, auxiliary=auxiliary), classes
    return UperHead(channels=width, auxiliary=auxiliary), classes
