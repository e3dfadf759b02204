"""Bilinear resizing without a filter against aliasing, by numpy alone: as OpenCV does it, and as torch does it.

Pillow, and torch when it is asked to, widen the kernel where an image shrinks; networks that were trained on OpenCV's
pixels have seen others, by up to 21 grey levels.
"""

import numpy as np
from numpy.typing import NDArray

BITS = 11  # of OpenCV's weights, which are whole numbers


def resize_pixels(planes: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 planes (..., H, W) to a size (height, width), to the very values of OpenCV's INTER_LINEAR."""
    if planes.shape[-2:] == size:
        return planes
    (top, bottom, down), (left, right, across) = (_places(planes.shape[i], size[i]) for i in (-2, -1))
    whole = [np.rint(share * (1 << BITS)).astype(np.int32) for share in (1 - across, across, 1 - down, down)]
    rows = [
        planes[..., row, :][..., left].astype(np.int32) * whole[0] + planes[..., row, :][..., right] * whole[1]
        for row in (top, bottom)
    ]
    # In the steps in which OpenCV drops bits.
    parts = [(weight[:, None] * (row >> 4)) >> 16 for row, weight in zip(rows, whole[2:], strict=True)]
    return ((parts[0] + parts[1] + 2) >> 2).astype(np.uint8)


def resize_rows(planes: NDArray[np.floating], size: tuple[int, int], rows: slice) -> NDArray[np.floating]:
    """Resize planes of floats (..., H, W) to a size (height, width), as torch's interpolation does, and give some rows.

    What is given is (..., rows, width), so that a large size needs no memory for all.
    """
    if planes.shape[-2:] == size:
        return planes[..., rows, :]
    (top, bottom, down), (left, right, across) = (_places(planes.shape[i], size[i]) for i in (-2, -1))
    top, bottom, down = top[rows], bottom[rows], down[rows]
    first, last = int(top.min()), int(bottom.max()) + 1
    planes, top, bottom = planes[..., first:last, :], top - first, bottom - first
    wide = planes[..., left] * (1 - across) + planes[..., right] * across
    return wide[..., top, :] * (1 - down)[:, None] + wide[..., bottom, :] * down[:, None]


def _places(have: int, want: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Give for each new place along a side the two old ones that it lies between, and the share of the second."""
    middles = ((np.arange(want) + 0.5) * (have / want) - 0.5).astype(np.float32)
    first = np.floor(middles).astype(np.intp)
    return first.clip(0, have - 1), (first + 1).clip(0, have - 1), middles - first.astype(np.float32)
