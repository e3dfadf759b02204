"""From what a client sent to pixels: a file's content, never a path or an address; too many pixels are not decoded."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing
from moganet.data.read import Picture, pixels_in_header, read
from moganet.errors import DataError

MAX_NAME = 255  # characters of a file's name that are kept


@dataclass(frozen=True)
class Sent:
    """An image as a client sent it: a file's content, or pixels uint8 (H, W, C); its name is only ever shown."""

    name: str
    content: bytes | NDArray[np.uint8]


def named(name: str | None, number: int) -> str:
    """Give an image's name: the client's, or its number."""
    return (name or "")[:MAX_NAME] or f"image {number}"


def check_pixels(sent: Sent, most: int) -> None:
    """Raise DataError for an image of more pixels than `most`, before any is decoded."""
    content = sent.content
    if isinstance(content, np.ndarray):
        number = content.size // content.shape[-1]
    else:
        number = pixels_in_header(io.BytesIO(content))
    if number > most:
        raise DataError(f"it has {number:,} pixels, and {most:,} are accepted; scale it down")


def read_sent(sent: Sent, own: Preprocessing, most: int) -> Picture:
    """Read an image in a model's channels. most: pixels that it may have. Raises DataError."""
    check_pixels(sent, most)
    return read(sent.content, own.channels, own.white_level)
