"""Images to begin with on the page: those of a folder, or such as every installation has."""

import csv
import gzip
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from moganet.data.read import read
from moganet.data.scan import list_images
from moganet.errors import ConfigError, DataError
from moganet.notices import say
from moganet.report.masks import in_colours

MOST = 12
SIDE, QUALITY = 192, 85  # of a thumbnail
DIGITS, DIGIT_SIDE, NUM_DIGITS = "digits", 8, 6
PHOTOGRAPHS = ("flower.jpg", "china.jpg")
CREDIT = "Photographs of scikit-learn, by vultilion and danielbuechele (CC BY 2.0)."


@dataclass(frozen=True)
class Sample:
    """An image to click. content: its file. thumbnail: a small JPEG or PNG of it."""

    name: str
    content: bytes
    thumbnail: bytes


def samples_of(folder: Path | None, trained_on: Sequence[str]) -> tuple[list[Sample], str]:
    """Give samples, and whose they are. folder: None takes what is installed. trained_on: what models say of theirs.

    Raises ConfigError for a folder without images.
    """
    if folder is not None:
        return _of_folder(folder), ""
    home = _scikit_learn()
    if home is None:
        return [], ""
    digits = _digits(home) if any(text.startswith(DIGITS) for text in trained_on) else []
    photographs = [_of_file(home / "images" / name) for name in PHOTOGRAPHS if (home / "images" / name).is_file()]
    return [*digits, *photographs], CREDIT if photographs else ""


def _of_folder(folder: Path) -> list[Sample]:
    files, found = list_images(folder), list[Sample]()
    for file in files:
        if len(found) == MOST:
            say(f"{folder} holds {len(files)} images; the page offers the first {MOST}")
            break
        try:
            found.append(_of_file(file))
        except (DataError, OSError) as error:
            say(f"{file} is left out of the samples: {error}")
    if not found:
        raise ConfigError(f"{folder} holds no image for the page; give --samples another folder")
    return found


def _scikit_learn() -> Path | None:
    """Give the folder of its data, without importing it, which takes a second."""
    found = importlib.util.find_spec("sklearn")
    return None if found is None or found.origin is None else Path(found.origin).parent / "datasets"


def _of_file(path: Path) -> Sample:
    content = path.read_bytes()
    image = Image.fromarray(in_colours(read(content, 3).pixels))
    image.thumbnail((SIDE, SIDE))
    return Sample(path.name, content, _written(image, "JPEG"))


def _digits(home: Path) -> list[Sample]:
    """Give handwritten digits, each another one, as 8x8 pixels."""
    try:
        with gzip.open(home / "data" / "digits.csv.gz", "rt") as file:
            rows = [row for row, _ in zip(csv.reader(file), range(NUM_DIGITS), strict=False)]
    except OSError:
        return []
    values = np.array(rows, float)[:, : DIGIT_SIDE**2].reshape(-1, DIGIT_SIDE, DIGIT_SIDE)
    images = [Image.fromarray((255 * one / 16).round().astype(np.uint8)) for one in values]
    large = [one.resize((64, 64), Image.Resampling.NEAREST) for one in images]
    return [
        Sample(f"digit {number}.png", _written(one, "PNG"), _written(big, "PNG"))
        for number, (one, big) in enumerate(zip(images, large, strict=True))
    ]


def _written(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=QUALITY)
    return buffer.getvalue()
