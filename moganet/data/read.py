"""Any image to pixels: the one reader, whatever the door (a path, bytes, a file, a PIL image, an array, a tensor).

The same picture gives the same pixels from each. Whatever a decoder raises about an image is that image's DataError.
"""

import io
import logging
import os
import re
import stat
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from moganet.data import formats
from moganet.data.channels import match_channels
from moganet.data.deep_grey import COLOUR, FLOAT, SETTING, WHITE, Depth, to_8_bit
from moganet.data.within import Within
from moganet.errors import DataError, UnreachableError, first_line
from moganet.notices import say


class TensorLike(Protocol):
    """A tensor of torch, which the reader knows by what it does: nothing here imports torch."""

    def detach(self) -> Any: ...


ImageLike = Image.Image | np.ndarray | TensorLike | str | os.PathLike[str] | bytes | IO[bytes] | Within

# EXIF's orientations in which an image lies on its side, and those in which, upright, it is flipped.
SIDEWAYS, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
LONGEST_NAME = 1000  # characters, in a message: an image in letters (base64) is taken for a path
ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://|data:[a-z/+.-]+[;,]", re.IGNORECASE)
PHOTOMETRIC, BITS, SAMPLE_FORMAT = 262, 258, 339  # TIFF's tags
SEVERAL_FRAMES = "some files hold several pictures (a film, pages, a phone's previews): the first of each is read"

# Pillow warns and logs about metadata and sizes, a line a file; what it says of pixels it raises.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _UnusableFileError(Exception):
    """A file that holds no image: a line with {name} where the file's name belongs."""


@dataclass(frozen=True)
class Picture:
    """A read image: pixels uint8 (C, H, W), its own (width, height), and what was found on the way."""

    pixels: np.ndarray
    size: tuple[int, int]
    format: str | None = None  # Pillow's name of its family, where there was a file
    depth: Depth | None = None  # of more than 8 bits
    notes: tuple[str, ...] = ()  # what was taken for what


def read_pixels(
    image: ImageLike, channels: int | None = 3, white_level: float | None = None, *, at_least: int | None = None
) -> np.ndarray:
    """Give an image as uint8 (C, H, W), and say what was taken for what.

    image: a path, an open file, its bytes, a PIL image; an array (H, W) or (H, W, C); a tensor (H, W) or (C, H, W).
        Arrays and tensors are uint8, bool, uint16, or floats in 0..1; 1 and 2 channels are grey, 2 and 4 have opacity.
    channels: None leaves the image's own. white_level: the value of white in images of more than 8 bits; None is the
        end of their type's range.
    at_least: as in `read`.
    Raises DataError for what can't be read.
    """
    picture = read(image, channels, white_level, at_least=at_least)
    for note in picture.notes:
        say(note)
    return picture.pixels


def read(
    image: ImageLike, channels: int | None = 3, white_level: float | None = None, *, at_least: int | None = None
) -> Picture:
    """Read an image as `read_pixels` does, and say nothing.

    at_least: pixels that both sides keep where a JPEG is decoded at a fraction of its size, whose pixels are others.
    """
    own = name_of_image(image)
    own = own if len(own) <= LONGEST_NAME else f"{own[:100]}…{own[-100:]}"
    name = own or "the image"
    try:
        picture = _read(image, white_level, at_least)
        return picture if channels is None else replace(picture, pixels=match_channels(picture.pixels, channels))
    except DataError as error:
        raise type(error)(f"{own}: {error}" if own else str(error)) from None
    except UnreachableError:  # which is no fault of the image
        raise
    except _UnusableFileError as error:
        raise DataError(str(error).format(name=name)) from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(f"{name} has more pixels than Pillow's limit of {limit:,}; scale it down") from None
    except Exception as error:  # decoders raise anything at all, RuntimeError and struct.error among it
        raise DataError(f"{name} can't be decoded: {first_line(error)}") from None


def pixels_in_header(file: IO[bytes]) -> int:
    """Give the number of pixels that a file says it has, decoding none; 0 where `read` will say why it is no image."""
    try:
        with Image.open(file, formats=formats.names_for(file.read(64))) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 2 * (Image.MAX_IMAGE_PIXELS or 0) + 1  # at least
    except Exception:  # decoders raise anything at all
        return 0


def name_of_image(image: ImageLike) -> str:
    """Give the name that an image has itself: a path, or its file's; "" where it has none."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = getattr(image, "filename", None) or getattr(image, "name", None)
    return name if isinstance(name, str) else ""


def _read(image: Any, white_level: float | None, at_least: int | None) -> Picture:
    if isinstance(image, str | os.PathLike):
        return _read_path(os.fspath(image), white_level, at_least)
    if isinstance(image, Within):
        return _read_within(image, white_level, at_least)
    if isinstance(image, bytes | bytearray | memoryview):
        return _read_file(io.BytesIO(image), white_level, at_least)
    if isinstance(image, Image.Image):
        return _read_pil(image, white_level)
    if hasattr(image, "read"):
        return _read_file(image, white_level, at_least)
    if hasattr(image, "detach"):  # files have that too
        tensor = image.detach().cpu()
        if tensor.ndim not in (2, 3):
            raise DataError(f"a tensor image must be (H, W) or (C, H, W), not {tuple(tensor.shape)}")
        planes = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        return _read_array(planes[None] if planes.ndim == 2 else planes, white_level, planes.shape)
    if isinstance(image, tuple):
        raise DataError("a tuple is no image; of a pair (image, class) give the image")
    if np.ma.is_masked(image):
        raise DataError("the array has masked pixels, which have no colour; fill them: array.filled(VALUE)")
    array = np.asarray(image)
    if array.ndim not in (2, 3):
        raise DataError(f"an array image must be (H, W) or (H, W, C), not {array.dtype} {array.shape}")
    return _read_array(array[None] if array.ndim == 2 else array.transpose(2, 0, 1), white_level, array.shape)


def _read_array(array: np.ndarray, white_level: float | None, shape: tuple[int, ...]) -> Picture:  # shape: as given
    if array.size == 0:
        raise DataError(f"the image has no pixels: its shape is {shape}")
    depth = None
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype != np.uint8:
        white = WHITE.get(array.dtype.str[1:])
        deep_colour = array.dtype.str[1:] == "u2" and len(array) > 1
        if white is None or (array.dtype.kind in "iu" and array.dtype.itemsize > 2 and len(array) > 1):
            what = f"an image must be uint8, bool, uint16, or floats in 0..1, not {array.dtype} {shape}"
            raise DataError(f"{what}; for values in 0..255 use astype(uint8)")
        kind = FLOAT if array.dtype.kind == "f" else COLOUR if deep_colour else f"{8 * array.dtype.itemsize}-bit grey"
        depth = Depth(kind, white_level or white, white_level is None, 0.0)
        if deep_colour and white_level is None:
            array = (array >> 8).astype(np.uint8)  # as Pillow reads such files
        else:
            array, depth = to_8_bit(array, depth)
    # A copy where the array can't be written to, or runs backwards: torch knows neither.
    pixels = np.require(array, requirements=["C", "W"])
    note = depth.note() if depth is not None and depth.kind != FLOAT else None  # floats in 0..1 are what is asked for
    return Picture(pixels, (array.shape[2], array.shape[1]), depth=depth, notes=(note,) if note else ())


def _read_path(path: str, white_level: float | None, at_least: int | None) -> Picture:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for its other end
            raise _UnusableFileError("{name} is a pipe or a device, and no file")
        file = open(path, "rb")  # noqa: SIM115 (what is raised within the block is about the image)
    except OSError as error:
        if ADDRESS.match(path):
            raise _UnusableFileError("{name} is an address and no file; download it, or give its bytes") from None
        raise _UnusableFileError(f"can't open {{name}}: {error.strerror}") from None
    with file:
        return _read_file(file, white_level, at_least)


def _read_within(image: Within, white_level: float | None, at_least: int | None) -> Picture:
    content = image.load()
    if isinstance(content, np.ndarray):
        return _read(content, white_level, at_least)
    file = io.BytesIO(content)
    file.name = image.filename  # by which a camera's raw file is known
    return _read_file(file, white_level, at_least)


def _read_file(file: IO[bytes], white_level: float | None, at_least: int | None) -> Picture:
    if not getattr(file, "seekable", bool)():
        file = io.BytesIO(file.read())
    file.seek(0)
    is_heif = formats.is_heif(head := file.read(64))
    file.seek(0)
    if is_heif and not formats.register_heif():
        raise _UnusableFileError("{name} is HEIC: pip install pillow-heif reads it, or convert it to JPEG")
    try:
        opened = Image.open(file, formats=["HEIF"] if is_heif else formats.names_for(head))
    except UnidentifiedImageError:
        raise _UnusableFileError(f"{{name}} {formats.why_no_image(head)}") from None
    with opened as image:
        image.filename = name_of_image(file)  # as Pillow does where it opens a path
        size = image.size
        if at_least is not None:
            image.draft("", (at_least, at_least))  # only JPEG's decoder can; no other mode is asked for
        return _read_pil(image, white_level, size)


def _refuse_preview(image: Image.Image) -> None:
    """Raise where the first picture of a file is a small version of another that Pillow can't read."""
    suffix = os.path.splitext(name_of_image(image))[1].lower()  # noqa: PTH122
    reduced = getattr(image, "tag_v2", {}).get(formats.SUBFILE_TYPE, 0) & formats.REDUCED
    if image.format == "TIFF" and not image.tell() and (reduced or suffix in formats.RAW_SUFFIXES):
        what = "{name} is a camera's raw file, of which Pillow reads a small preview only"
        raise _UnusableFileError(f"{what}; convert it to TIFF or JPEG")


def _read_pil(image: Image.Image, white_level: float | None, size: tuple[int, int] | None = None) -> Picture:
    _refuse_preview(image)
    deep_colour = _is_deep_colour(image)
    image.load()
    turn = _orientation(image)  # after loading: a TIFF is turned by Pillow, which takes its tag away
    width, height = size or image.size
    values, inverted, depth = _values(image, white_level)
    if depth is None:
        array, depth = values, _depth_of_colour(values, white_level) if deep_colour else None
    else:
        array, depth = to_8_bit(values, depth, inverted=inverted)
        if isinstance(key := image.info.get("transparency"), int):  # the value that is not seen
            array = np.concatenate([array, np.where(values == key, 0, 255).astype(np.uint8)], axis=2)
    array = array.swapaxes(0, 1) if turn in SIDEWAYS else array
    array = array[:: -1 if turn in UPSIDE_DOWN else 1, :: -1 if turn in MIRRORED else 1]
    pixels = np.require(array.transpose(2, 0, 1), requirements=["C", "W"])
    if pixels.size == 0:
        raise DataError(f"the image has no pixels: it is {width} x {height}")
    notes = [note for note in (depth.note() if depth else None, _note_of_frames(image)) if note]
    kind = formats.FAMILIES.get(image.format or "", image.format)
    return Picture(pixels, (height, width) if turn in SIDEWAYS else (width, height), kind, depth, tuple(notes))


def _values(image: Image.Image, white_level: float | None) -> tuple[np.ndarray, bool, Depth | None]:
    """Give the values (H, W, C) of 1 to 4 channels, uint8 or deep; whether a deep image's white is zero; its depth."""
    mode = image.mode
    if mode in ("F", "I") or mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        white = white_level or _white_of_file(image, tags)
        kind = "float grey" if mode == "F" else "32-bit grey" if mode == "I" else "16-bit grey"
        return np.asarray(image)[..., None], tags.get(PHOTOMETRIC) == 0, Depth(kind, white, white_level is None, 0.0)
    if mode in ("La", "RGBa"):
        image = image.convert(mode[:-1] + "A")
    elif mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    elif image.has_transparency_data and mode not in ("LA", "RGBA"):
        image = _without_deep_key(image).convert("RGBA")
    elif mode == "1":
        image = image.convert("L")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    return (array[..., None] if array.ndim == 2 else array), False, None


def _white_of_file(image: Image.Image, tags: Any) -> float:
    """Give the end of the range that a file states: a TIFF may have 12 bits, or 16 with a sign."""
    bits = tags.get(BITS, (0,))[0]
    if image.mode == "I" and bits == 16 and tags.get(SAMPLE_FORMAT, (1,))[0] == 2:
        return 32767.0
    if image.mode.startswith("I;16") and 8 < bits < 16:
        return float(2**bits - 1)
    return 1.0 if image.mode == "F" else 65535.0


def _is_deep_colour(image: Image.Image) -> bool:
    """Tell whether Pillow will reduce a file's 16 bits a channel to the upper 8."""
    tiles = getattr(image, "tile", None) or ()
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in tiles)


def _depth_of_colour(array: np.ndarray, white_level: float | None) -> Depth:
    if white_level not in (None, 65535):
        what = f"of 16-bit colour the upper 8 bits are read, where {SETTING} has no meaning"
        raise DataError(f"{what}; save it with 8 bits")
    return Depth(COLOUR, 65535.0, white_level is None, 257.0 * int(array.max(initial=0)))


def _without_deep_key(image: Image.Image) -> Image.Image:
    """Reduce the transparent colour of a file of 16 bits a channel as Pillow reduces its pixels."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and any(part > 255 for part in key):
        image = image.copy()
        image.info["transparency"] = tuple(part >> 8 for part in key)
    return image


def _orientation(image: Image.Image) -> int:
    """Give EXIF's orientation; 1 where the block is broken, as every viewer does."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # its parser raises anything, and the pixels are whole
        return 1


def _note_of_frames(image: Image.Image) -> str | None:
    try:
        return SEVERAL_FRAMES if getattr(image, "is_animated", False) and not image.tell() else None
    except Exception:  # what comes after the first frame may be broken
        return None
