"""Superpixels: an image divided into patches of like colour (scikit-image), or into a grid."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from moganet.errors import ConfigError, choose_of
from moganet.explanations.method import need

NUM_SEGMENTS = 50  # that slic and the grid aim at; fewer where the image is small
PIXELS_A_SEGMENT = 36
QUICKSHIFT_SIDE = 224  # for which the published settings of LIME (Ribeiro et al. 2016) were made
KERNEL, MAX_DISTANCE, RATIO = 4.0, 200.0, 0.2


def find_superpixels(image: Tensor, kind: str) -> tuple[Tensor, str]:
    """Divide an image (C, H, W) of any range; give labels (H, W), counted from 0, and the kind that was used.

    kind: "quickshift" (with LIME's settings, scaled to the image), "slic" or "grid". Where the first two find a single
    superpixel, as in a blank image, the grid is taken. Raises ConfigError for another kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"there are no superpixels {kind!r}; {choose_of(kind, KINDS)}")
    height, width = image.shape[1:]
    labels = KINDS[kind](_as_picture(image))
    if labels.max() == labels.min() and height * width > 1:
        kind, labels = "grid", _grid(_as_picture(image))
    _, counted = np.unique(labels, return_inverse=True)
    return torch.from_numpy(counted.reshape(height, width)), kind


def mean_colours(image: Tensor, segments: Tensor) -> Tensor:
    """Give the image (C, H, W) with every superpixel in its mean colour: what hides it, as in LIME."""
    number = int(segments.max()) + 1
    flat, index = image.flatten(1), segments.flatten()
    sums = torch.zeros(len(image), number, dtype=image.dtype).index_add_(1, index, flat)
    counts = torch.bincount(index, minlength=number).clamp(min=1)
    return (sums / counts)[:, segments]


def _as_picture(image: Tensor) -> np.ndarray:
    """Scale to 0..1 and three channels, (H, W, 3): the searches compare colours."""
    low, high = image.min(), image.max()
    scaled = (image - low) / (high - low).clamp(min=1e-12)
    three = scaled if len(scaled) == 3 else scaled.mean(0, keepdim=True).expand(3, -1, -1)
    return np.ascontiguousarray(three.permute(1, 2, 0).double().numpy())


def _quickshift(picture: np.ndarray) -> np.ndarray:
    kernel = min(KERNEL, max(1.0, KERNEL * min(picture.shape[:2]) / QUICKSHIFT_SIDE))
    quickshift = need("skimage.segmentation").quickshift
    return np.asarray(quickshift(picture, kernel_size=kernel, max_dist=MAX_DISTANCE, ratio=RATIO, rng=0))


def _slic(picture: np.ndarray) -> np.ndarray:
    segmentation = need("skimage.segmentation")
    number = _number(picture)
    if number < 2:
        return np.zeros(picture.shape[:2], dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a blank image, whose superpixels are the grid then
        return np.asarray(segmentation.slic(picture, n_segments=number, start_label=0))


def _grid(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    side = max(1.0, math.sqrt(height * width / max(2, _number(picture))))
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return np.asarray(row[:, None] * columns + column)


def _number(picture: np.ndarray) -> int:
    return max(1, min(NUM_SEGMENTS, len(picture) * len(picture[0]) // PIXELS_A_SEGMENT))


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"quickshift": _quickshift, "slic": _slic, "grid": _grid}
