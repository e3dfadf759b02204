"""How much boxes overlap; numpy."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (n, 4) left, top, right, bottom


def overlaps(boxes: Boxes, others: Boxes, crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the IoU of boxes (n, 4) with others (m, 4), (n, m); of a crowd the share of the box that lies in it."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    areas, of_others = ((one[:, 2:] - one[:, :2]).clip(0).prod(1) for one in (boxes, others))
    either = np.where(crowd[None], areas[:, None], areas[:, None] + of_others[None] - both)
    return np.asarray(both / np.maximum(either, 1e-12))
