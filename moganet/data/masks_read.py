"""A mask's file to its values, exactly as they were written: nothing is scaled, turned or made a picture of."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from moganet.data import formats
from moganet.data.findings import FaultError
from moganet.data.read import SIDEWAYS
from moganet.data.within import Within
from moganet.errors import DataError, UnreachableError, first_line

LOSSLESS = frozenset({"PNG", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA", "WEBP", "PCX", "SGI", "ICO"})
MOST_PIXELS = 1 << 29  # of a mask that is drawn: as many as Pillow would read, and more
SPREAD = {"L;2": 85, "L;4": 17}  # what Pillow multiplies a PNG's values of 2 and 4 bits by
RED, GREEN = 1 << 16, 1 << 8  # a colour as a number: 65536 red + 256 green + blue
Values = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Shape:
    """A closed outline or holes of it, in pixels; or runs of pixels, column by column (COCO's RLE); and its value."""

    value: int
    polygons: Sequence[Sequence[float]] = ()
    runs: Sequence[int] = ()


@dataclass(frozen=True)
class DrawnMask:
    """A mask that stands in a file as outlines, with a name that finds it again; what no shape covers is `empty`."""

    name: str
    size: tuple[int, int]  # width, height
    shapes: Sequence[Shape] = field(repr=False)
    empty: int = 0

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class SegmentsMask:
    """A mask whose colours are numbers of segments (COCO panoptic), and the value of each of them."""

    file: Path
    values: tuple[tuple[int, int], ...] = field(repr=False)  # a segment's number, and its value
    empty: int = 0

    def __str__(self) -> str:
        return str(self.file)

    @property
    def name(self) -> str:  # as a path has it
        return self.file.name


MaskFile = Path | DrawnMask | SegmentsMask | Within


@dataclass(frozen=True)
class Raw:
    """What a mask's file holds: values (H, W), which are colours as numbers where `coloured`.

    palette: (n, 3), of an indexed image.
    """

    values: Values
    coloured: bool = False
    palette: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:  # width, height
        return self.values.shape[1], self.values.shape[0]


def read_raw(file: MaskFile) -> Raw:
    """Read a mask. Raises FaultError ("unreadable", "lossy"), whose text names the file."""
    if isinstance(file, SegmentsMask):
        return _of_segments(file)
    content = b""
    try:
        if isinstance(file, DrawnMask):
            return Raw(draw(file))
        content = bytes(file.load()) if isinstance(file, Within) else file.read_bytes()
        with Image.open(io.BytesIO(content), formats=formats.names_for(content[:64])) as image:
            if image.format not in LOSSLESS or _is_lossy(image, content):
                what = f"{file} is {formats.FAMILIES.get(image.format or '', image.format)}, which changes values"
                raise FaultError("lossy", f"{what}: a mask must be PNG or another format without loss")
            return _of_image(image)
    except (FaultError, UnreachableError):
        raise
    except DataError as error:  # of what lies within another file
        raise FaultError("unreadable", f"{file}: {error}") from None
    except OSError as error:
        reason = error.strerror or formats.why_no_image(content[:64])
        raise FaultError(
            "unreadable", f"{file} {reason}" if reason.startswith("is ") else f"{file}: {reason}"
        ) from None
    except Exception as error:  # decoders raise anything at all
        raise FaultError("unreadable", f"{file} can't be decoded: {first_line(error)}") from None


def _is_lossy(image: Image.Image, content: bytes) -> bool:
    if image.format == "TIFF":
        return "jpeg" in str(image.info.get("compression", ""))
    return image.format == "WEBP" and b"VP8 " in content[:64]


def _of_image(image: Image.Image) -> Raw:
    """Give the values of an opened image."""
    tiles: Any = getattr(image, "tile", None) or [(None, None, None, "")]
    spread = SPREAD.get(str(tiles[0][3] if isinstance(tiles[0][3], str) else (tiles[0][3] or ("",))[0]), 1)
    image.load()
    if image.mode == "P":
        colours = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return Raw(np.asarray(image), palette=colours)
    if image.mode == "PA":
        return Raw(np.asarray(image)[..., 0], palette=np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3))
    if image.mode in ("L", "LA", "1"):
        values = np.asarray(image).astype(np.uint8)
        return Raw((values[..., 0] if values.ndim == 3 else values) // spread)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Raw(np.asarray(image).astype(np.int32))
    if image.mode == "F":
        return Raw(_whole_numbers(np.asarray(image)))
    return Raw(as_numbers(np.asarray(image.convert("RGB"))), coloured=True)


def _whole_numbers(values: NDArray[np.floating]) -> Values:
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise ValueError("its values are no whole numbers")
    return values.astype(np.int32)


def as_numbers(colours: Any) -> Values:
    """Give colours (..., 3) as numbers (...)."""
    found = np.asarray(colours, np.int32)
    return np.asarray(found[..., 0] * RED + found[..., 1] * GREEN + found[..., 2])


def as_colour(number: int) -> tuple[int, int, int]:
    """Give the colour of a number."""
    return number // RED, number // GREEN % 256, number % 256


def _of_segments(file: SegmentsMask) -> Raw:
    raw = read_raw(file.file)
    # COCO writes a segment's number as red + 256 green + 65536 blue.
    numbers = raw.values if not raw.coloured else _reversed(raw.values)
    known = dict(file.values)
    found, places = np.unique(numbers, return_inverse=True)
    values = np.array([file.empty if number == 0 else known.get(int(number), -1) for number in found], np.int32)
    if (values == -1).any():
        lost = int(found[values == -1][0])
        raise FaultError("unknown", f"{file} has a segment {lost} that its JSON does not name")
    return Raw(values[places].reshape(numbers.shape))


def _reversed(numbers: Values) -> Values:
    return np.asarray(numbers // RED + numbers // GREEN % 256 * GREEN + numbers % 256 * RED)


def draw(mask: DrawnMask) -> Values:
    """Draw a mask's shapes, the later ones over the earlier; values (H, W)."""
    from PIL import ImageDraw

    if mask.size[0] * mask.size[1] > MOST_PIXELS:
        raise ValueError(f"{mask.size[0]} x {mask.size[1]} pixels")
    canvas = Image.new("I", mask.size, mask.empty)
    pen = ImageDraw.Draw(canvas)
    for shape in mask.shapes:
        for polygon in shape.polygons:
            if len(polygon) >= 6:
                pen.polygon([float(number) for number in polygon], fill=shape.value)
        if len(shape.runs):
            canvas.paste(shape.value, mask=Image.fromarray(of_runs(shape.runs, mask.size)))
    return np.asarray(canvas).astype(np.int32)


def of_runs(runs: Sequence[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Give a mask (H, W) of 0 and 255 of COCO's runs: of nothing, of something, in turns, column by column.

    Raises ValueError for runs that do not fill a size (width, height).
    """
    width, height = size
    lengths = np.asarray(runs, np.int64)
    if (lengths < 0).any() or lengths.sum() != width * height:
        raise ValueError(f"runs of {int(lengths.sum())} pixels for {width} x {height}")
    flat = np.repeat(np.arange(len(lengths)) % 2 * 255, lengths).astype(np.uint8)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def size_of_image(file: Any) -> tuple[int, int] | None:
    """Give the size (width, height) of an upright image by its file's head; None where that can't be told."""
    try:
        with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as opened:
            head = opened.read(64)
            if formats.is_heif(head) and not formats.register_heif():
                return None
            opened.seek(0)
            with Image.open(opened, formats=["HEIF"] if formats.is_heif(head) else formats.names_for(head)) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS
                return (image.size[1], image.size[0]) if turned else image.size
    except Exception:  # whoever reads the image says what is wrong with it
        return None
