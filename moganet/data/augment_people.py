"""Training's part of one thing in an image: a crop around its box, moved, turned, scaled and mirrored as mmpose does.

The draws are mmpose's, as the reference's configurations ask for them: a shift in three of ten crops, half of the body
in `half_body` of them, a factor of the box and a turn that are normal with the given deviations, cut at once and at
twice these, the turn in six of ten.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.config import AugmentConfig, Preprocessing
from moganet.data.box_crop import Part, moved, part_of, warp
from moganet.data.people_targets import Item

SHIFTED, TURNED = 0.3, 0.6  # how many crops
HALF_FROM = 8  # marked key points, more than which a body must have to be halved
HALF_LEAST, HALF_MARGIN = 2, 1.5  # key points that a half must have; its margin before that of all boxes


def crop_of_box(image: Tensor, target: Item, preprocessing: Preprocessing) -> tuple[Tensor, Item]:
    """Give what the network sees of a thing, uint8 (C, h, w), and its target with "places" (K, 3) in it, and "part"."""
    part = part_of(target["box"].numpy(), preprocessing)
    return _cropped(image, target, part, mirrored=False)


def _cropped(image: Tensor, target: Item, part: Part, *, mirrored: bool) -> tuple[Tensor, Item]:
    matrix = part.matrix()
    if mirrored:  # the image first, so that the part's middle is mirrored with it
        flip = np.array([[-1.0, 0, image.shape[-1] - 1], [0, 1, 0], [0, 0, 1]])
        matrix = replace(part, centre=(image.shape[-1] - 1 - part.centre[0], part.centre[1])).matrix() @ flip
    points = target["points"].numpy()
    places = np.concatenate([moved(points[:, :2], matrix), points[:, 2:]], 1)
    order = target["mirrored"].numpy() if mirrored else np.arange(len(places))
    seen = torch.from_numpy(warp(image.numpy(), matrix, part.output))
    seen_part = torch.tensor([*part.centre, *part.size], dtype=torch.float64)
    return seen, {**target, "places": torch.from_numpy(places[order].astype(np.float32)), "part": seen_part}


class BoxCrop:
    """Crop one uint8 image (C, H, W) around its target's box by random draws."""

    def __init__(self, augment: AugmentConfig, preprocessing: Preprocessing) -> None:
        self.augment, self.preprocessing = augment, preprocessing

    def __call__(self, image: Tensor, target: Any) -> tuple[Tensor, Any]:
        """Give the crop, and the target with "places"."""
        augment, points = self.augment, target["points"].numpy()
        part = self._half(points, target["lower"].numpy()) if _drawn(augment.half_body) else None
        part = part or part_of(target["box"].numpy(), self.preprocessing)
        if augment.translate and _drawn(SHIFTED):
            shifts = (2 * torch.rand(2) - 1) * augment.translate
            x, y = (c + float(shift) * side for c, shift, side in zip(part.centre, shifts, part.size, strict=True))
            part = replace(part, centre=(x, y))
        low, high = augment.zoom
        factor = min(high, max(low, 1 + float(torch.randn(())) * max(high - 1, 1 - low)))
        turn = 0.0
        if augment.rotation and _drawn(TURNED):
            turn = float((torch.randn(()) * augment.rotation).clamp(-2 * augment.rotation, 2 * augment.rotation))
        part = replace(part, size=(part.size[0] * factor, part.size[1] * factor), turn=turn)
        return _cropped(image, target, part, mirrored=_drawn(augment.hflip))

    def _half(self, points: NDArray[np.float64], lower: NDArray[np.bool_]) -> Part | None:
        """Give the part around the upper or the lower half of a body; None where too little of either is marked."""
        marked = points[:, 2] > 0
        if marked.sum() <= HALF_FROM or lower.all() or not lower.any():
            return None
        halves = [points[marked & ~lower], points[marked & lower]]
        wanted = 0 if float(torch.rand(())) < 0.5 else 1
        chosen = next((halves[i] for i in (wanted, 1 - wanted) if len(halves[i]) > HALF_LEAST), None)
        if chosen is None:
            return None
        (left, top), (right, bottom) = chosen[:, :2].min(0), chosen[:, :2].max(0)
        side = np.array([right - left, bottom - top])
        if not side.all():
            return None
        middle, side = chosen[:, :2].mean(0), side * HALF_MARGIN
        return part_of(np.concatenate([middle - side / 2, side]), self.preprocessing.changed(crop_fraction=1.0))


def _drawn(share: float) -> bool:
    return share > 0 and float(torch.rand(())) < share
