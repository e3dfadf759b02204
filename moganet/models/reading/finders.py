"""Which head a detector has, and for how many classes, read off the shapes of its tensors."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from moganet.config import BoxHead, CascadeHead, MaskRcnnHead, RetinaHead
from moganet.models.reading.sizes import size_of

if TYPE_CHECKING:
    from torch import Tensor

FINDERS = ("neck.", "rpn_head.", "roi_head.", "bbox_head.")
LATERAL, ANCHORS = "neck.lateral_convs.0.conv.weight", 9
RETINA, RPN, ROI = "bbox_head.retina_cls.weight", "rpn_head.rpn_cls.weight", "roi_head.bbox_head."
LOOKS = (f"{ROI}fc_cls.weight", f"{ROI}0.fc_cls.weight")  # of one head, and the first of a cascade's


def has_finder(state: Mapping[str, object]) -> bool:
    """Tell whether names are of a detector with one of the reference's heads."""
    return LATERAL in state and (RETINA in state or (RPN in state and any(name in state for name in LOOKS)))


def finder_of(state: Mapping[str, "Tensor"]) -> tuple[BoxHead, int] | None:
    """Give a detector's head and its number of classes; None where there is no head of the reference's."""
    if not has_finder(state):
        return None
    neck = size_of(state, LATERAL, 0)
    if RETINA in state:
        convs = _number(state, "bbox_head.cls_convs.")
        return RetinaHead(neck=neck, convs=convs), size_of(state, RETINA, 0) // ANCHORS
    kind = CascadeHead if LOOKS[1] in state else MaskRcnnHead
    look = f"{ROI}0." if kind is CascadeHead else ROI
    classes = size_of(state, f"{look}fc_cls.weight", 0) - 1
    head = kind(
        neck=neck,
        convs=_number(state, f"{look}shared_convs."),
        fcs=_number(state, f"{look}shared_fcs."),
        one_box=size_of(state, f"{look}fc_reg.weight", 0) == 4,
        masks=any(name.startswith("roi_head.mask_head.") for name in state),
    )
    return (head.changed(hidden=size_of(state, f"{look}shared_fcs.0.weight", 0)) if head.fcs else head), classes


def _number(state: Mapping[str, object], prefix: str) -> int:
    """Count the layers that are numbered behind a prefix."""
    return len({found[1] for name in state if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", name))})
