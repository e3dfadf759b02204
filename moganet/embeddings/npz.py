"""Features as a numpy archive: features, files, labels ("" where none is known), contents, and their making."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from moganet.embeddings.rows import MadeWith, Rows

SUFFIX = ".npz"
MADE = "made_with"
BATCH = 4096  # rows that are read at once
WIDEST = 1 << 17  # bytes of one row of an array; longer ones are no names
DATE = (2026, 1, 1, 0, 0, 0)  # of all members, so that equal features make equal files


def needs() -> None:
    """Say that nothing more than numpy is needed."""


def write(path: Path, made: MadeWith, parts: Callable[[], Iterable[Rows]], names: Iterable[str]) -> None:
    """Write rows as they come; numpy.load reads the file without pickle."""
    number, dim, widths = 0, 0, {"files": 1, "contents": 1, "labels": 1}
    for rows in parts():
        number, dim = number + len(rows), rows.features.shape[1]
        widths = {name: max(width, *map(len, _texts(rows, name))) for name, width in widths.items()}
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        _member(archive, "features", "<f4", (number, dim), (rows.features for rows in parts()))
        for name, width in widths.items():
            kind = f"<U{width}"
            _member(archive, name, kind, (number,), (np.array(_texts(rows, name), kind) for rows in parts()))
        text = np.array(made.model_dump_json())
        _member(archive, MADE, text.dtype.str, (), [text])


def _texts(rows: Rows, name: str) -> list[str]:
    return [one or "" for one in getattr(rows, name)]


def _member(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], parts: Iterable[Any]) -> None:
    with archive.open(zipfile.ZipInfo(f"{name}.npy", DATE), "w", force_zip64=True) as file:
        npy.write_array_header_2_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part, kind).tobytes())


def read_made(path: Path) -> MadeWith | None:
    """Give with what a file's features were made; None for another archive."""
    with zipfile.ZipFile(path) as archive:
        if f"{MADE}.npy" not in archive.namelist():
            return None
        with archive.open(f"{MADE}.npy") as file:
            member = _Member(file)
            return MadeWith.model_validate(json.loads(str(member.take(1)[0])))


def read(path: Path) -> Iterator[Rows]:
    """Give the rows, some at a time."""
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = ("files", "contents", "labels", "features")
        members = [_Member(stack.enter_context(archive.open(f"{name}.npy"))) for name in names]
        number = members[0].number
        if any(member.number != number for member in members):
            raise ValueError("its arrays differ in length")
        for start in range(0, number, BATCH):
            files, contents, labels, features = (member.take(min(BATCH, number - start)) for member in members)
            texts = tuple(files.tolist()), tuple(contents.tolist()), tuple(one or None for one in labels.tolist())
            yield Rows(*texts, features.astype(np.float32, copy=False))
        for member in members:
            member.end()


class _Member:
    """An array of an archive, read a part at a time; one that is pickled, or turned, is refused."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, version = file, npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ValueError("its arrays are of a version of numpy's format that is not read here")
        self.shape, turned, self.dtype = readers[version](file)
        self.number = self.shape[0] if self.shape else 1
        self.width = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=object))
        if turned or self.dtype.kind not in "fU" or not (len(self.shape) < 3 and 0 < self.width <= WIDEST):
            raise ValueError(f"an array of {self.dtype} {self.shape} is none of features or names")

    def take(self, number: int) -> np.ndarray:
        data = self.file.read(number * self.width)
        if len(data) != number * self.width:
            raise ValueError("it ends before its arrays do")
        return np.frombuffer(data, self.dtype).reshape(number, *self.shape[1:])

    def end(self) -> None:
        """Read to the end, where the archive's checksum is compared."""
        if self.file.read(1):
            raise ValueError("an array goes on where it should end")
