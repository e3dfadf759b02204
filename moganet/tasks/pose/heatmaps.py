"""From heat maps to places in the image, and back, as the reference has it: numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
QUARTER = 0.25  # of a place, by which a peak is moved towards its higher neighbour


def decoded(heatmaps: Array) -> Array:
    """Give the peak of each heat map (N, K, h, w): x and y in its places, and its height (N, K, 3).

    Moved by a quarter of a place towards the higher neighbour along x and along y, but at the border. A map that is
    nowhere above 0 has its peak at (-1, -1).
    """
    number, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(number, joints, height * width)
    best = flat.argmax(2)
    peaks = np.take_along_axis(flat, best[..., None], 2)[..., 0]
    x, y = best % width, best // width
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    i, j = np.indices((number, joints))
    left, right, above, below = (
        heatmaps[i, j, row.clip(0, height - 1), column.clip(0, width - 1)]
        for row, column in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x))
    )
    moves = QUARTER * np.stack([np.sign(right - left), np.sign(below - above)], 2) * inside[..., None]
    places = np.where((peaks > 0)[..., None], np.stack([x, y], 2) + moves, -1.0)
    return np.concatenate([places, peaks[..., None]], 2).astype(np.float64)


def in_image(found: Array, parts: Array, size: tuple[int, int]) -> Array:
    """Bring peaks (N, K, 3) of heat maps of a size (height, width) to the image of which the parts (N, 4) are."""
    placed, middles, sides = found.copy(), parts[:, None, :2], parts[:, None, 2:]
    placed[..., :2] = placed[..., :2] * (sides / np.array(size[::-1])) + middles - sides / 2
    return placed


def mirrored_back(heatmaps: Array, order: tuple[int, ...]) -> Array:
    """Give what heat maps (N, K, h, w) of mirrored crops say of the crops: left and right swapped, and turned back.

    Shifted by one place to the right, as the reference does: a mirrored map would lie beside the other one.
    """
    turned = heatmaps[:, list(order), :, ::-1]
    return np.concatenate([turned[..., :1], turned[..., :-1]], 3)
