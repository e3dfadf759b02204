"""Which anchors or proposals learn which object, and which of them are drawn.

Unlike torchvision's, an object that no box overlaps enough takes all boxes that tie for its best overlap, if that is
high enough, and later objects go before earlier ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

Size = tuple[int, int]  # height and width
BACKGROUND, IGNORED = -1, -2


class Objects(NamedTuple):
    """An image's objects: boxes (N, 4) as x1 y1 x2 y2 in pixels, labels (N,) from 0 on, masks (N, H, W) or None."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None


class Limits(NamedTuple):
    """Overlaps (IoU) from which a box is an object's, below which it is background, and from which a best one counts.

    best: None lets objects go without a box.
    """

    positive: float
    negative: float
    best: float | None


@dataclass(frozen=True)
class Sampling:
    """How many boxes of an image learn. rpn, rois: how many; their share that may hold objects.

    proposals: how many are drawn from; None is the head's own number, 1000, or 2000 of a cascade. rpn_least: the
    overlap (IoU) from which an object's best anchor learns it, though it is no good one.
    """

    rpn: int = 256
    rpn_positive: float = 0.5
    rois: int = 512
    roi_positive: float = 0.25
    proposals: int | None = None
    rpn_least: float = 0.3


class Drawn(NamedTuple):
    """Places of the boxes that learn: those with objects, those without; and each box's object."""

    positive: Tensor
    negative: Tensor
    owners: Tensor

    @property
    def places(self) -> Tensor:
        return torch.cat([self.positive, self.negative])


def match(boxes: Tensor, objects: Tensor, limits: Limits) -> Tensor:
    """Give for each box (N, 4) the object (M, 4) that it learns, BACKGROUND, or IGNORED."""
    if not len(objects) or not len(boxes):
        return torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    overlaps = box_iou(objects, boxes)  # (M, N)
    highest, owner = overlaps.max(0)
    owners = torch.full_like(owner, IGNORED)
    owners[highest < limits.negative] = BACKGROUND
    found = highest >= limits.positive
    owners[found] = owner[found]
    if limits.best is not None:
        best = overlaps.max(1, keepdim=True).values
        ties = (overlaps == best) & (best >= limits.best) & (best > 0)
        numbers = torch.arange(len(objects), device=boxes.device)[:, None]
        taken = torch.where(ties, numbers, -1).max(0).values
        owners = torch.where(taken >= 0, taken, owners)
    return owners


def draw(owners: Tensor, number: int | None, share: float = 0.5) -> Drawn:
    """Draw boxes that learn, at most `share` of them with objects. number: None takes all."""
    positive, negative = (owners >= 0).nonzero()[:, 0], (owners == BACKGROUND).nonzero()[:, 0]
    if number is not None:
        positive = _some(positive, int(number * share))
        negative = _some(negative, number - len(positive))
    return Drawn(positive, negative, owners)


def _some(places: Tensor, number: int) -> Tensor:
    """Draw so many of places, in their order; on the CPU, where training's random numbers are."""
    if len(places) <= number:
        return places
    chosen = torch.randperm(len(places))[:number].sort().values
    return places[chosen.to(places.device)]


def inside(anchors: Sequence[Tensor], maps: Sequence[Tensor], strides: Sequence[int], size: Size) -> Tensor:
    """Tell of all levels' anchors which lie on places of an image's own, padded part. size: of that part."""
    parts = []
    for own, x, stride in zip(anchors, maps, strides, strict=True):
        height, width = (min(-(-side // stride), have) for side, have in zip(size, x.shape[2:], strict=True))
        valid = torch.zeros(x.shape[2], x.shape[3], dtype=torch.bool, device=x.device)
        valid[:height, :width] = True
        parts.append(valid.flatten().repeat_interleave(len(own) // valid.numel()))
    return torch.cat(parts)


def matched_inside(anchors: Tensor, valid: Tensor, objects: Tensor, limits: Limits) -> Tensor:
    """Match those of an image's anchors that are valid; the others are IGNORED."""
    owners = torch.full((len(anchors),), IGNORED, device=anchors.device)
    owners[valid] = match(anchors[valid], objects, limits)
    return owners
