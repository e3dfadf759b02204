"""Classes of pixels in colours, over the image or by themselves; numpy alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPACITY = 0.55
Colour = tuple[int, int, int]


def usual_palette(number: int) -> tuple[Colour, ...]:
    """Give colours for classes without: those of PASCAL VOC, of which index 0 is black."""
    return tuple(
        tuple(sum((i >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))  # type: ignore[misc]
        for i in range(number)
    )


def in_colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give an image (C, H, W) of any channels as (H, W, 3): the first three, or the first as grey."""
    return np.ascontiguousarray(image[[0, 0, 0] if len(image) < 3 else [0, 1, 2]].transpose(1, 2, 0))


def painted_over(
    image: NDArray[np.uint8], labels: NDArray[np.integer[Any]], palette: Sequence[Colour], opacity: float = OPACITY
) -> NDArray[np.uint8]:
    """Lay the colours of labels (H, W) over an image uint8 (H, W, 3), but where they are negative; in bands."""
    table = np.array(palette, np.float32).reshape(-1, 3)
    drawn = np.empty_like(image)
    for first in range(0, len(image), 256):
        band = slice(first, first + 256)
        own, told = image[band].astype(np.float32), labels[band]
        mixed = own * (1 - opacity) + table[np.clip(told, 0, None)] * opacity
        drawn[band] = np.where((told >= 0)[..., None], mixed, own).round().astype(np.uint8)
    return drawn
