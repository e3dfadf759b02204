"""What a caller gives in Python, as a predictor takes it: images, arrays, boxes and sizes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moganet.data.read import ImageLike
from moganet.data.scan import list_images
from moganet.errors import ConfigError, DataError
from moganet.inference.runs import Array, Sizes


def as_array(x: Any) -> Array:
    """Give an array of a tensor, wherever it lies, or of an array."""
    return np.asarray(x.detach().float().cpu() if hasattr(x, "detach") else x)


def as_images(images: Any) -> Sequence[ImageLike]:
    """Give one image or several as a sequence; (H, W, C) is one, (N, H, W, C) are N. Raises DataError for neither."""
    if isinstance(images, Mapping):  # of a data set's row, say: its keys are no images
        values = ", ".join(map(str, images))
        raise DataError(f"a {type(images).__name__} is no image; give one of its values ({values})")
    single = (str, os.PathLike, bytes, bytearray, memoryview)
    if isinstance(images, str | os.PathLike) and Path(images).is_dir():
        return list_images(Path(images))
    if isinstance(images, single) or hasattr(images, "getexif") or hasattr(images, "read"):  # the last: an open file
        return [images]
    if hasattr(images, "ndim"):
        return list(images) if images.ndim in (1, 4) else [images]
    try:
        return list(images)
    except TypeError:
        raise DataError(f"a {type(images).__name__} is no image, and no list of images") from None


def as_boxes(given: Any) -> Array:
    """Give boxes (N, 5) of those of an image, (N, 4) or with scores. Raises DataError for what is none."""
    try:
        boxes = np.asarray(as_array(given), np.float64)
        boxes = boxes.reshape(0, 5) if boxes.size == 0 else boxes
    except (TypeError, ValueError):
        boxes = np.zeros(0)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5) or not np.isfinite(boxes).all() or (boxes[:, 2:4] <= 0).any():
        raise DataError(
            "the boxes of an image are rows of x, y, width, height, and perhaps a score, with sides above 0"
        )
    return boxes if boxes.shape[1] == 5 else np.column_stack([boxes, np.ones(len(boxes))])


def check_number(boxes: Sequence[Any], images: int) -> None:
    """Raise DataError for boxes of another number of images."""
    if len(boxes) != images:
        raise DataError(f"boxes are given for {len(boxes)} images, and there are {images}; give (N, 4) for each image")


def checked_sizes(sizes: Any, shape: Sequence[int]) -> Sizes:
    """Give the sizes (height, width) of images of a shape (B, C, H, W): all of it, or as given. Raises ConfigError."""
    if sizes is None:
        return [(shape[2], shape[3])] * shape[0]
    taken = [(int(height), int(width)) for height, width in sizes]
    if len(taken) != shape[0]:
        raise ConfigError(f"{len(taken)} sizes are given for {shape[0]} images; give a height and width for each")
    for height, width in taken:
        if not (0 < height <= shape[2] and 0 < width <= shape[3]):
            raise ConfigError(f"an image of {height}x{width} does not lie in one of {shape[2]}x{shape[3]} pixels")
    return taken
