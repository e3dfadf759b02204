"""From a network's logits to the class of each pixel of the whole image, in little memory; numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.bilinear import resize_rows

Labels = NDArray[np.integer[Any]]
BAND = 1 << 24  # numbers that are enlarged at a time


def type_of(num_classes: int) -> type[np.unsignedinteger[Any]]:
    """Give the smallest type for classes' indices."""
    return np.uint8 if num_classes <= 256 else np.uint16


def labels_of(logits: NDArray[np.floating], size: tuple[int, int]) -> Labels:
    """Give the likeliest class of each pixel (H, W), of logits (classes, h, w) enlarged to the size, band by band."""
    height, width = size
    labels = np.empty(size, type_of(len(logits)))
    rows = max(1, BAND // max(1, len(logits) * width))
    for first in range(0, height, rows):
        band = slice(first, min(height, first + rows))
        labels[band] = resize_rows(logits, size, band).argmax(0)
    return labels
