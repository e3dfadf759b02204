"""Training's geometry for images in which things are marked: boxes, classes and masks go where their image goes.

Each image is made as large as fits (the reference's rule, `resample.fitted`), by a shorter side that is drawn where
several are asked for, or a part of it is taken; then it is mirrored, moved and distorted by the settings that all tasks
have. What leaves the image is cut off, what is left with nothing is dropped, and so are crowds: nothing learns them.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from moganet.config import AugmentConfig, Preprocessing
from moganet.data.augment import RandomCropToSize, ScaledCrop, moves_of
from moganet.data.preprocess import bring_to_size
from moganet.data.source import Split
from moganet.errors import ConfigError, DataError

LEAST_SIDE = 1.0  # pixels of a box that is learned
TRIES = 10  # to read another image for a mosaic
PER_THING = ("labels", "crowd", "area", "numbers", "masks", "boxes")
Marked = dict[str, Any]


class ObjectTransform:
    """Bring one uint8 image (C, H, W), and what is marked in it, to what the network learns from.

    others: images of which three join each `mosaic`.
    """

    def __init__(self, augment: AugmentConfig, preprocessing: Preprocessing, others: Split | None = None) -> None:
        _check(augment, preprocessing)
        self.augment, self.preprocessing, self.others = augment, preprocessing, others
        self.crop: Any = None
        if augment.crop == "scaled":
            self.crop = ScaledCrop(augment, preprocessing, empty=0)
        elif augment.crop != "none":
            self.crop = RandomCropToSize(augment, preprocessing, placed=True, empty=0)
        self.moves = [] if self.crop else moves_of(augment, preprocessing, empty=0)

    def __call__(self, image: Tensor, target: Marked) -> tuple[Tensor, Marked]:
        target = kept(target, ~target["crowd"])
        if self.others is not None and self.augment.mosaic and float(torch.rand(())) < self.augment.mosaic:
            image, target = self._mosaic(image, target)
        else:
            image, target = self._sized(image, target)
        for move in self.moves:
            image, target = move(tv_tensors.Image(image), target)
        return image.as_subclass(Tensor), cleaned(image, target)

    def _sized(self, image: Tensor, target: Marked) -> tuple[Tensor, Marked]:
        if self.crop is not None:
            sized: tuple[Tensor, Marked] = self.crop(image, target)
            return sized
        return bring_to_size(image, target, self._drawn_size())

    def _drawn_size(self) -> Preprocessing:
        """Draw the length of the shorter side, where there is a choice."""
        if self.augment.short_side is None:
            return self.preprocessing
        low, high = self.augment.short_side
        short, size = int(torch.randint(low, high + 1, ())), self.preprocessing.size
        return self.preprocessing.changed(size=(short, max(short, *size)))

    def _mosaic(self, image: Tensor, target: Marked) -> tuple[Tensor, Marked]:
        """Put four images around a point that is drawn in the middle of a picture of the network's size."""
        height, width = self.augment.crop_size or self.preprocessing.size
        middle = [int(side * (0.3 + 0.4 * float(torch.rand(())))) for side in (height, width)]
        fill = torch.tensor([round(255 * value) for value in self.preprocessing.mean], dtype=torch.uint8)
        picture = fill.view(-1, 1, 1).repeat(1, height, width)
        parts = []
        for corner in range(4):
            part, marked = (image, target) if corner == 0 else self._another()
            # Half to all of the size that the image would have by itself, so that small things are seen too.
            factor = 0.5 + 0.5 * float(torch.rand(()))
            size = tuple(max(1, round(side * factor)) for side in (height, width))
            part, marked = bring_to_size(part, marked, self.preprocessing.changed(size=size, crop_mode="fit"))
            parts.append(_laid(picture, part, marked, middle, (corner < 2, corner % 2 == 0)))
        return picture, joined(target, parts)

    def _another(self) -> tuple[Tensor, Marked]:
        assert self.others is not None
        for attempt in range(TRIES):
            try:
                sample = self.others[int(torch.randint(len(self.others), ()))]
                return sample.image, kept(sample.target, ~sample.target["crowd"])
            except DataError:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError


def _check(augment: AugmentConfig, preprocessing: Preprocessing) -> None:
    if augment.auto_augment:
        raise ConfigError(f"augment.auto_augment {augment.auto_augment!r} moves the image and not what is marked in it")
    if augment.erasing:
        raise ConfigError("augment.erasing would hide things that are still to be found; leave it at 0")
    if preprocessing.crop_mode == "center" and augment.crop == "none":
        raise ConfigError("preprocessing.crop_mode center would not see whole images; use fit, keep or squash")
    if augment.short_side is not None:
        low, high = augment.short_side
        if low > high:
            raise ConfigError(f"augment.short_side goes from {low} to {high}; give the smaller number first")
        if preprocessing.crop_mode != "fit" or augment.crop != "none":
            raise ConfigError("augment.short_side is for preprocessing.crop_mode fit and augment.crop none")


def _laid(picture: Tensor, part: Tensor, marked: Marked, middle: list[int], before: tuple[bool, bool]) -> Marked:
    """Lay an image into one of a picture's corners, as far as it reaches; give what of it is seen, in place."""
    where, seen = [], []
    for side, own, point, first in zip(picture.shape[-2:], part.shape[-2:], middle, before, strict=True):
        length = min(own, point if first else side - point)
        where.append((point - length, length) if first else (point, length))
        seen.append((own - length, length) if first else (0, length))
    (top, height), (left, width) = where
    (own_top, _), (own_left, _) = seen
    picture[:, top : top + height, left : left + width] = part[
        :, own_top : own_top + height, own_left : own_left + width
    ]
    around = [left, top, picture.shape[-1] - left - width, picture.shape[-2] - top - height]
    return {
        key: F.pad(F.crop(value, own_top, own_left, height, width), around)
        if isinstance(value, tv_tensors.TVTensor)
        else value
        for key, value in marked.items()
    }


def joined(target: Marked, parts: list[Marked]) -> Marked:
    """Put together what is marked in images of one size; what is not of things is the first's."""
    whole = dict(target)
    for key in PER_THING:
        if key not in target:
            continue
        values = torch.cat([part[key].as_subclass(Tensor) for part in parts])
        first = parts[0][key]
        whole[key] = tv_tensors.wrap(values, like=first) if isinstance(first, tv_tensors.TVTensor) else values
    return whole


def kept(target: Marked, chosen: Tensor) -> Marked:
    """Give a target with some of its things, by a mask (n,) of bool."""
    if bool(chosen.all()):
        return target
    return {key: _rows(value, chosen) if key in PER_THING else value for key, value in target.items()}


def _rows(value: Tensor, chosen: Tensor) -> Tensor:
    rows = value.as_subclass(Tensor)[chosen]
    return tv_tensors.wrap(rows, like=value) if isinstance(value, tv_tensors.TVTensor) else rows


def cleaned(image: Tensor, target: Marked) -> Marked:
    """Cut boxes at the image's edge, and drop what is left with nothing; "size" becomes the image's own."""
    boxes = F.clamp_bounding_boxes(target["boxes"])
    sides = (boxes[:, 2:] - boxes[:, :2]).as_subclass(Tensor)
    seen = (sides >= LEAST_SIDE).all(1)
    if "masks" in target:
        seen &= target["masks"].as_subclass(Tensor).flatten(1).any(1).bool()
    return {**kept({**target, "boxes": boxes}, seen), "size": torch.tensor([image.shape[-2], image.shape[-1]])}
