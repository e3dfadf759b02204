"""Statistics of an image's pixels that tell noise, plain pages and text from photographs; numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_CHANNELS = 16  # that are looked at; of more, so many evenly spread
BAND, MAX_BANDS = 8, 8  # rows of a band, and how many bands of a large image are looked at
SCALES = (1, 2, 4)  # sides of the blocks whose differences are taken
LEAST = 1e-2  # added before the logarithm: three grey levels


def texture(pixels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give statistics (B, n) of pixels in 0..1, (B, C, H, W): n is a function of C, H and W.

    They are logarithms of means and deviations of the channels, and of the differences between neighbouring blocks of
    one, two and four pixels, along rows and columns, and between channels.
    """
    bands = _bands(_few(np.asarray(pixels, np.float32)))  # (B, C, bands, rows, W)
    parts = [*_mean_and_deviation(bands)]
    for side in SCALES:
        if min(bands.shape[3:]) >= 2 * side:
            parts += _of_blocks(_blocks(bands, side))
    return np.asarray(np.log(np.concatenate(parts, 1) + np.float32(LEAST)), np.float32)


def _few(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    channels = pixels.shape[1]
    if channels <= MAX_CHANNELS:
        return pixels
    return pixels[:, np.linspace(0, channels - 1, MAX_CHANNELS).round().astype(int)]


def _bands(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut bands of whole rows out of images, evenly spread: what is left of a large one says as much."""
    height = pixels.shape[2]
    rows = min(BAND, height)
    number = min(MAX_BANDS, height // rows)
    starts = np.linspace(0, height - rows, number).round().astype(int)
    return np.stack([pixels[:, :, start : start + rows] for start in starts], 2)


def _blocks(bands: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Give the means of blocks of side x side pixels."""
    if side == 1:
        return bands
    rows, width = (length // side * side for length in bands.shape[3:])
    whole = bands[..., :rows, :width]
    lines = sum((whole[..., i::side, :] for i in range(1, side)), whole[..., ::side, :])
    return np.asarray(sum((lines[..., i::side] for i in range(1, side)), lines[..., ::side]) / (side * side))


def _of_blocks(blocks: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    """Give what neighbouring blocks differ by along both directions and between channels, each (B, C or C - 1)."""
    found: list[NDArray[np.float32]] = []
    for steps in (np.diff(blocks, axis=4), np.diff(blocks, axis=3)):
        size = np.abs(steps)
        found += [size.mean((2, 3, 4)), np.sqrt(np.square(size).mean((2, 3, 4)))]
    if blocks.shape[1] > 1:
        found.append(np.abs(np.diff(blocks, axis=1)).mean((2, 3, 4)))
    mean = blocks.mean((2, 3, 4))
    found.append(np.maximum(blocks.max((2, 3, 4)) - mean, mean - blocks.min((2, 3, 4))))
    return found


def _mean_and_deviation(bands: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    return bands.mean((2, 3, 4)), bands.std((2, 3, 4))
