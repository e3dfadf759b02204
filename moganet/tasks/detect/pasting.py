"""From a detector's small masks to masks of an image: sampled at the middles of its pixels; numpy.

torchvision rounds boxes to whole pixels first, which moves the masks of small objects.
"""

import numpy as np
from numpy.typing import NDArray

CUT = 0.5  # the probability from which on a pixel is the object's
Floats = NDArray[np.floating]


def paste(masks: Floats, boxes: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the masks (N, height, width) of boxes (N, 4) in an image, from probabilities (N, h, w) within the boxes."""
    pasted = np.zeros((len(boxes), *size), np.bool_)
    for mask, box, to in zip(masks, boxes.astype(np.float32), pasted, strict=True):
        rows, down = _middles(box[1], box[3], size[0], mask.shape[0])
        columns, across = _middles(box[0], box[2], size[1], mask.shape[1])
        if rows.stop > rows.start and columns.stop > columns.start:
            to[rows, columns] = _sampled(mask.astype(np.float32), down, across) >= CUT
    return pasted


def _middles(start: np.float32, end: np.float32, side: int, places: int) -> tuple[slice, Floats]:
    """Give the pixels of a line whose middles lie within a box, and where that is among its places."""
    first, last = max(0, int(np.floor(start)) - 1), min(side, int(np.ceil(end)) + 1)
    if end <= start or last <= first:
        return slice(0, 0), np.zeros(0, np.float32)
    middles = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    along = (middles - start) / (end - start) * np.float32(2) - np.float32(1)  # from -1 to 1, as the reference counts
    return slice(first, last), ((along + np.float32(1)) * np.float32(places) - np.float32(1)) / np.float32(2)


def _sampled(mask: Floats, down: Floats, across: Floats) -> Floats:
    """Give a mask's values between its places, bilinear; beyond them lie zeros."""
    ringed = np.pad(mask, 1)
    (top, lower), (left, right) = (_shares(at, side) for at, side in ((down, mask.shape[0]), (across, mask.shape[1])))
    rows = ringed[top] * (1 - lower)[:, None] + ringed[top + 1] * lower[:, None]
    found: Floats = rows[:, left] * (1 - right) + rows[:, left + 1] * right
    return found


def _shares(at: Floats, side: int) -> tuple[NDArray[np.int64], Floats]:
    """Give the place before each position, in a mask with a ring of zeros, and the share of the place behind it."""
    before = np.floor(at)
    is_near = (before >= -1) & (before < side)
    return np.where(is_near, before + 1, 0).astype(np.int64), np.where(is_near, at - before, 0).astype(np.float32)
