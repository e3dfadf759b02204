"""From a read image to the network's input with numpy and Pillow alone, where torch would have to be waited for.

The same bits as `preprocess` gives: torch resizes uint8 with weights of 16 bits and a rounding after each axis. All
its sums are whole numbers, and products of matrices of floats that hold them give them exactly.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from moganet.config import Preprocessing
from moganet.errors import DataError

THIN = 16  # of an image whose longer side would become more than so many crops, only what the crop sees is resized
SUPPORT = {"bilinear": 1, "bicubic": 2}  # how far a filter reaches, in pixels of the smaller image
WEIGHT_BITS, FINEST = 15, 22  # of the largest weight, and of all weights' common unit


class Band(NamedTuple):
    """Neighbouring outputs of an axis: their weights (inputs, outputs) for the inputs from `begin` to `end`."""

    begin: int
    end: int
    weights: np.ndarray


class Axis(NamedTuple):
    """What a crop sees of one axis, and the bands that resize it, counted from `begin`; none leave it as it is."""

    begin: int
    end: int
    bands: tuple[Band, ...] = ()

    def resize(self, images: np.ndarray, axis: int) -> np.ndarray:
        """Resize uint8 images, already cut to what is seen, along their rows (axis -1) or columns (-2)."""
        if not self.bands:
            return images
        kind, shape = self.bands[0].weights.dtype.type, list(images.shape)
        shape[axis] = sum(band.weights.shape[1] for band in self.bands)
        out, at = np.empty(shape, kind), 0
        for begin, end, weights in self.bands:
            to = at + weights.shape[1]
            if axis == -1:
                np.matmul(images[..., begin:end].astype(kind), weights, out=out[..., at:to])
            else:
                np.matmul(weights.T, images[..., begin:end, :].astype(kind), out=out[..., at:to, :])
            at = to
        out += kind(0.5)
        return np.clip(out, 0, 255, out=out).astype(np.uint8)


def preprocess(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn uint8 images (..., C, H, W) into the network's input, float32 (..., C, h, w)."""
    return normalize(resize_and_crop(images, preprocessing), preprocessing)


def normalize(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Turn uint8 images (..., C, H, W) into float32 with the described mean and standard deviation."""
    mean, std = (np.array(each, np.float32).reshape(-1, 1, 1) for each in (preprocessing.mean, preprocessing.std))
    floats = images.astype(np.float32)
    floats /= 255
    floats = floats - mean
    floats /= std
    return floats


def resize_and_crop(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring uint8 images (..., C, H, W) to the described size, (..., C, h, w)."""
    crop, have = preprocessing.size, (images.shape[-2], images.shape[-1])
    full = target_size(have, preprocessing)
    try:
        if preprocessing.interpolation == "nearest" or is_thin(full, crop):
            return resize_seen(images, full, preprocessing)
        first = _first(full, crop)
        down, across = (_axis(have[i], full[i], first[i], crop[i], preprocessing.interpolation) for i in range(2))
        seen = images[..., down.begin : down.end, across.begin : across.end]
        return down.resize(across.resize(seen, -1), -2)
    except (MemoryError, ValueError) as error:
        raise not_resized(images.shape, preprocessing, error) from None


def target_size(have: tuple[int, int], preprocessing: Preprocessing) -> list[int]:
    """Give height and width to which images of a size (height, width) are resized before their middle is cropped."""
    height, width = preprocessing.size
    if preprocessing.crop_mode == "squash":
        return [height, width]
    # Rounded down at each step, as torchvision and timm do: one pixel more would shift the crop.
    full = [int(side / preprocessing.crop_fraction) for side in (height, width)]
    covering = 0 if full[0] * have[1] >= full[1] * have[0] else 1  # the side that is resized to its full length
    other = max(full[1 - covering], int(full[covering] * have[1 - covering] / have[covering]))
    return [full[0], other] if covering == 0 else [other, full[1]]


def is_thin(full: list[int], crop: tuple[int, int]) -> bool:
    """Tell whether an image is so thin that its whole, resized, would be mostly outside the crop."""
    return full[0] > THIN * crop[0] or full[1] > THIN * crop[1]


def not_resized(shape: tuple[int, ...], preprocessing: Preprocessing, error: Exception) -> DataError:
    """Give the error of an image that can't be resized: too large for the memory, say."""
    (height, width), reason = preprocessing.size, str(error).partition("\n")[0][:200]
    return DataError(f"an image of {shape[-1]} x {shape[-2]} pixels can't be brought to {width} x {height}: {reason}")


def resize_seen(images: np.ndarray, full: list[int], preprocessing: Preprocessing) -> np.ndarray:
    """Resize only the part of images that the middle crop of their whole, resized to `full`, would hold.

    Its pixels are those of that crop: within two grey levels, by Pillow; for "nearest" exactly.
    """
    crop, have = preprocessing.size, images.shape[-2:]
    first = _first(full, crop)
    if preprocessing.interpolation == "nearest":
        rows, columns = (_nearest(have[i], full[i], first[i], crop[i]) for i in range(2))
        return images.take(rows, -2).take(columns, -1)
    method = Image.Resampling[preprocessing.interpolation.upper()]
    (top, bottom), (left, right) = (
        (begin * step, min((begin + side) * step, float(size)))
        for begin, side, step, size in zip(first, crop, (have[0] / full[0], have[1] / full[1]), have, strict=True)
    )
    # Along the rows first, as the whole would be, since values are rounded and clipped in between.
    planes = map(Image.fromarray, images.reshape(-1, *have))
    wide = (plane.resize((crop[1], have[0]), method, (left, 0, right, have[0])) for plane in planes)
    seen = [np.asarray(plane.resize(crop[::-1], method, (0, top, crop[1], bottom))) for plane in wide]
    return np.stack(seen).reshape(*images.shape[:-2], *crop)


def _first(full: list[int], crop: tuple[int, int]) -> tuple[int, int]:
    """Give the first row and column of the middle crop, as torchvision's center_crop does."""
    return round((full[0] - crop[0]) / 2), round((full[1] - crop[1]) / 2)


def _nearest(have: int, full: int, first: int, side: int) -> np.ndarray:
    places = np.arange(first, first + side, dtype=np.float32) * (np.float32(have) / np.float32(full))
    return np.minimum(places.astype(np.int64), have - 1)


@lru_cache(maxsize=32)
def _axis(have: int, full: int, first: int, side: int, interpolation: str) -> Axis:
    """Plan how `have` pixels become `full`, of which `side` are seen from `first` on."""
    if have == full:
        return Axis(first, first + side)
    begins, weights, bits = _weights(have, full, interpolation)
    begins, weights = begins[first : first + side], weights[first : first + side]
    largest = 255 * np.abs(weights).sum(1).max() + 2**bits
    kind, width = (np.float32, 16) if largest < 2**24 else (np.float64, 4)  # wider wastes zeros, narrower calls
    begin, scaled = int(begins[0]), (weights / 2**bits).astype(kind)
    parts = [slice(at, at + width) for at in range(0, side, width)]
    bands = tuple(_band(have - begin, begins[part] - begin, scaled[part]) for part in parts)
    return Axis(begin, begin + bands[-1].end, bands)


def _band(have: int, begins: np.ndarray, weights: np.ndarray) -> Band:
    begin, taps = int(begins[0]), weights.shape[1]
    end = int(begins[-1]) + taps
    dense = np.zeros((end - begin, len(begins)), weights.dtype)
    dense[begins - begin + np.arange(taps)[:, None], np.arange(len(begins))] = weights.T
    return Band(begin, min(end, have), dense[: have - begin])  # beyond the image all are zeros


def _weights(have: int, full: int, interpolation: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Give each output's first input and its weights as torch rounds them, in units of 2 ** -bits; and these bits."""
    scale = have / full
    stretch = max(scale, 1.0)
    reach = SUPPORT[interpolation] * stretch
    taps = 2 * math.ceil(reach) + 1
    centres = scale * (np.arange(full) + 0.5)
    begins = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    sizes = np.minimum((centres + reach + 0.5).astype(np.int64), have) - begins
    places = np.arange(taps)
    distances = np.abs((places + begins[:, None] - centres[:, None] + 0.5) * (1 / stretch))
    weights = np.where(places < sizes[:, None], FILTERS[interpolation](distances), 0)
    weights /= weights.cumsum(1)[:, -1:]  # in order, as torch adds them
    largest = weights.max()
    bits = next((bits for bits in range(FINEST) if int(0.5 + largest * 2 ** (bits + 1)) >= 2**WEIGHT_BITS), FINEST)
    return begins, np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int64), bits


def _cubic(distances: np.ndarray) -> np.ndarray:
    """Keys' filter with a = -0.5, as Pillow has it."""
    near = (1.5 * distances - 2.5) * distances * distances + 1
    far = (((distances - 5) * distances + 8) * distances - 4) * -0.5
    return np.where(distances < 1, near, np.where(distances < 2, far, 0))


FILTERS = {"bilinear": lambda distances: np.maximum(1 - distances, 0), "bicubic": _cubic}
