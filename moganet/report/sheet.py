"""Many small pictures in one: a sheet that a page carries within itself, and from which it shows each by its place."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

QUALITIES = (85, 70, 50, 30, 15)
LOSSLESS_SIDE = 16  # pixels; smaller pictures would run into their neighbours


@dataclass(frozen=True)
class Sheet:
    """A sheet of equal squares. uri: the whole picture as a data URI. Number i stands in column i % columns."""

    uri: str
    columns: int
    rows: int
    side: int


def make_sheet(pictures: Sequence[np.ndarray], max_bytes: int) -> Sheet:
    """Lay pictures, uint8 (side, side, 3), in a sheet of at most so many bytes.

    Their quality, and in the end their size, is lowered until they fit.
    """
    if not len(pictures):
        return Sheet("", 1, 1, 1)
    side = pictures[0].shape[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    canvas = np.zeros((rows * side, columns * side, 3), np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // columns * side, number % columns * side
        canvas[y : y + side, x : x + side] = picture
    image = Image.fromarray(canvas)
    while True:
        for quality in QUALITIES:
            uri = _as_uri(image, quality, lossless=side <= LOSSLESS_SIDE)
            if len(uri) <= max_bytes or side <= LOSSLESS_SIDE:
                return Sheet(uri, columns, rows, side)
        side //= 2
        image = image.resize((columns * side, rows * side), Image.Resampling.BOX)


def _as_uri(image: Image.Image, quality: int, *, lossless: bool) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, lossless=lossless, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
