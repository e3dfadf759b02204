"""From a box in an image to the network's input, by one affine map as mmpose makes it with OpenCV; numpy alone.

A box is x, y, width, height in pixels. It is widened to the shape of the network's input, and by a margin; the map goes
from the box's middle to the input's middle (W / 2, H / 2), and what lies outside the image is black.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing

PLACE_BITS, TABLE_BITS = 10, 5  # of OpenCV's whole numbers: places, and parts of a pixel
MOST = 2**31 - 1
Matrix = NDArray[np.float64]  # (2, 3)
Boxes = NDArray[np.floating]  # (N, 4)


@dataclass(frozen=True)
class Part:
    """A part of an image: its centre, its width and height in pixels, its turn in degrees; for training, mirrored."""

    centre: tuple[float, float]
    size: tuple[float, float]
    turn: float = 0.0
    output: tuple[int, int] = field(default=(0, 0))  # height and width of what becomes of it

    def matrix(self) -> Matrix:
        """Give the map (2, 3) from the image's places (x, y) to those of the input."""
        height, width = self.output
        angle = np.deg2rad(self.turn)
        # Three points, of which the second is above the centre by half of the width, in the reference's float32.
        arm = np.array([0.0, self.size[0] * -0.5])
        above = np.array(
            [np.cos(angle) * arm[0] - np.sin(angle) * arm[1], np.sin(angle) * arm[0] + np.cos(angle) * arm[1]]
        )
        own = _triangle(np.array(self.centre), above)
        there = _triangle(np.array([width * 0.5, height * 0.5]), np.array([0.0, width * -0.5]))
        return np.asarray(np.linalg.solve(np.column_stack([own, np.ones(3)]), there).T, np.float64)


def _triangle(centre: NDArray[np.float64], arm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a point, another, and the third of the right angle between them (3, 2), rounded to float32."""
    first, second = centre.astype(np.float32), (centre + arm).astype(np.float32)
    across = first - second
    third = second + np.array([-across[1], across[0]], np.float32)
    return np.stack([first, second, third]).astype(np.float64)


def part_of(box: NDArray[np.floating], preprocessing: Preprocessing) -> Part:
    """Give the part of an image that the network sees for a box (x, y, width, height)."""
    x, y, wide, high = (float(value) for value in box)
    height, width = preprocessing.size
    ratio = width / height
    centre = x + wide * 0.5, y + high * 0.5
    if wide > ratio * high:
        high = wide / ratio
    elif wide < ratio * high:
        wide = high * ratio
    margin = 1 / preprocessing.crop_fraction
    return Part(centre, (wide * margin, high * margin), output=preprocessing.size)


def parts_of(boxes: Boxes, preprocessing: Preprocessing) -> Boxes:
    """Give the parts that the network sees for boxes (N, 4 or more): the middle's x and y, width and height (N, 4)."""
    parts = [part_of(box[:4], preprocessing) for box in boxes]
    return np.array([[*part.centre, *part.size] for part in parts], np.float64).reshape(-1, 4)


def crops_of(image: NDArray[np.uint8], boxes: Boxes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Give what the network sees of boxes (N, 4 or more) in an image uint8 (C, H, W), uint8 (N, C, h, w)."""
    made = [warp(image, part_of(box[:4], preprocessing).matrix(), preprocessing.size) for box in boxes]
    return np.stack(made) if made else np.zeros((0, len(image), *preprocessing.size), np.uint8)


def whole_box(image: NDArray[np.uint8]) -> Boxes:
    """Give the box (1, 4) that is the whole of an image (..., H, W)."""
    return np.array([[0, 0, image.shape[-1], image.shape[-2]]], np.float64)


def warp(image: NDArray[np.uint8], matrix: Matrix, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring an image uint8 (C, H, W) to (C, h, w) by a map (2, 3) of its places, as OpenCV's warpAffine does.

    Bilinear between pixels, in the whole numbers of OpenCV 4, so that the values are its own; black outside.
    """
    (height, width), inverse = size, _inverse(matrix)
    scale, half = 1 << PLACE_BITS, 1 << (PLACE_BITS - TABLE_BITS - 1)
    across = _rounded(inverse[:, :1] * np.arange(width) * scale)  # (2, w)
    down = _rounded((inverse[:, 1:2] * np.arange(height) + inverse[:, 2:]) * scale) + half  # (2, h)
    places = (down[:, :, None] + across[:, None, :]) >> (PLACE_BITS - TABLE_BITS)  # (2, h, w)
    whole, parts = places >> TABLE_BITS, places & ((1 << TABLE_BITS) - 1)
    (left, top), (right, bottom) = whole.min((1, 2)).clip(0), whole.max((1, 2)).clip(0) + 2
    seen = image[:, top:bottom, left:right]  # the rest of a large image would only cost time
    if not seen.size:
        return np.zeros((len(image), height, width), np.uint8)
    return _sampled(seen, whole - np.array([left, top])[:, None, None], parts)


def _inverse(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f) = matrix
    factor = a * e - b * d
    factor = 1 / factor if factor != 0 else 0.0
    a, b, d, e = e * factor, b * -factor, d * -factor, a * factor
    return np.array([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])


def _rounded(values: Matrix) -> NDArray[np.int64]:
    return np.rint(values).clip(-MOST - 1, MOST).astype(np.int64)


def _sampled(image: NDArray[np.uint8], whole: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Give pixels (C, h, w) between four, of which the upper left one stands at `whole` (x, y), by parts of a pixel."""
    (height, width), steps = image.shape[-2:], 1 << TABLE_BITS
    flat = np.ascontiguousarray(image.reshape(len(image), -1).T)  # pixels with all of their channels
    right, below = parts.astype(np.int32)
    sums = np.full((right.size, len(image)), 1 << (2 * TABLE_BITS - 1), np.int32)
    for row, down in ((0, steps - below), (1, below)):
        y = whole[1] + row
        for column, across in ((0, steps - right), (1, right)):
            x = whole[0] + column
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            places = np.where(inside, y * width + x, 0)
            sums += flat[places.ravel()].astype(np.int32) * (across * down * inside).reshape(-1, 1)
    return (sums >> 2 * TABLE_BITS).astype(np.uint8).T.reshape(len(image), *right.shape)


def moved(points: NDArray[np.floating], matrix: Matrix) -> NDArray[np.float64]:
    """Give places (..., 2) in the input of places in the image."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])
