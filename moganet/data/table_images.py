"""The images of a table: the files that its paths name, however they are written, or the pictures that it holds."""

import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

from moganet.data.contents import EmbeddedImage, ImageFile
from moganet.data.table_cells import as_text
from moganet.errors import DataError
from moganet.files import typed_path

LONGEST_PATH = 4096  # bytes; what is longer, in a column of bytes, is a picture
ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # a Windows drive is one letter
# How a path may be written that names no file as it stands, in the order in which they are tried.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "spaces around them": lambda text: text.strip(),
    "other forms of accented letters": lambda text: unicodedata.normalize("NFC", text.strip()),
    "decomposed accented letters": lambda text: unicodedata.normalize("NFD", text.strip()),
    "\\ between folders": lambda text: text.strip().replace("\\", "/"),
    "~ for a home": lambda text: str(typed_path(text.strip())),
}


def find_images(
    table: Path, column: str, cells: Sequence[Any], places: Sequence[str]
) -> tuple[list[ImageFile], list[str]]:
    """Give the image of each row, and notes: in which spelling its files were found, how many do not exist."""
    images: list[ImageFile] = []
    spelled, missing, embedded = Counter[str](), list[str](), 0
    for cell, place in zip(cells, places, strict=True):
        content, text = _parts(cell)
        if content is not None:
            name = PurePath(text.replace("\\", "/")).name
            images.append(EmbeddedImage(content, "/".join(filter(None, (table.name, place.rpartition(" ")[2], name)))))
            embedded += 1
            continue
        if ADDRESS.match(text):
            raise DataError(
                f"{place} of {table} has the address {text[:80]!r}; download the images and name their files"
            )
        file, spelling = _find(table.parent, text)
        images.append(file)
        spelled[spelling] += 1
        if spelling == "missing":
            missing.append(f"{text[:200]!r} ({place})")
    notes = [f"{n:,} paths of {table.name} have {how}" for how, n in spelled.items() if how in SPELLINGS]
    if missing:
        notes.append(
            f"{len(missing):,} of {len(images):,} images of {table.name} do not exist, first {missing[0]}; relative "
            f"paths start at the table's folder, {table.parent.absolute()}"
        )
    if embedded:
        notes.append(f"{embedded:,} images lie in {table.name} itself, in its column {column!r}")
    return images, notes


def is_empty(cell: Any) -> bool:
    """Tell whether a cell names no image. Raises DataError for what can name none."""
    if isinstance(cell, dict):
        if not {"bytes", "path"} & cell.keys():
            raise DataError(f"holds records of {', '.join(cell)[:80]}; a picture is a record of bytes and path")
        return not cell.get("bytes") and is_empty(cell.get("path"))
    return not cell or (not isinstance(cell, bytes) and not as_text(cell))


def _parts(cell: Any) -> tuple[bytes | None, str]:
    """Give a picture's bytes, or None, and its path: of text, bytes, or a record of both as Hugging Face's datasets."""
    if isinstance(cell, dict):
        return cell.get("bytes") or None, as_text(cell.get("path"))
    if isinstance(cell, bytes) and not _is_text(cell):
        return cell, ""
    return None, cell if isinstance(cell, str) else as_text(cell)


def _is_text(cell: bytes) -> bool:
    try:
        return len(cell) <= LONGEST_PATH and cell.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _find(folder: Path, text: str) -> tuple[Path, str]:
    """Give a path, and how it had to be read: "" as it stands, a name of SPELLINGS, or "missing"."""
    if _exists(folder / text):
        return folder / text, ""
    for name, spell in SPELLINGS.items():
        if (spelled := spell(text)) != text and _exists(folder / spelled):
            return folder / spelled, name
    return folder / text.strip(), "missing"


def _exists(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DataError(f"{path} is a pipe, a socket or a device, and no image file")
    return stat.S_ISREG(mode)
