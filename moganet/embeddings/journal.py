"""A file of features in the making: records that are whole or do not count, so that a killed process loses no image.

A record is a line "CRC JSON-LENGTH DATA-LENGTH" in hexadecimal, JSON and the features' bytes; the first has none.
"""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ValidationError

from moganet.embeddings.rows import Features, MadeWith, Rows
from moganet.errors import OutputError
from moganet.files import atomic_path

PARTIAL, LOCK = ".partial", ".lock"
HEAD = len(b"00000000 00000000 0000000000000000\n")
MAX_JSON = 64 << 20  # bytes, of one record


class Journal:
    """Features that are already made, by the name of their image, and those to come.

    known: the hash of each image's contents, by its name. made: with what; None in a journal that has nothing yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, dict[str, str]()
        self.made: MadeWith | None = None
        self._last: dict[str, int] = {}  # the number of the row that counts for an image
        self._rows, self._end = 0, 0  # rows in all, and bytes that are whole

    def load(self) -> None:
        """Read what is there, as far as it is whole. Raises OutputError for a file that is no journal."""
        if not self.path.exists():
            return
        for rows, end in self._records(self.path.stat().st_size):
            self._end = end
            if rows is not None:
                self._note(rows)
        if self.made is None and self.path.stat().st_size:
            raise OutputError(f"{self.path} is no file that moganet began; move it away, or choose another --out")

    def append(self, rows: Rows) -> None:
        """Add features; they count from when they are written whole."""
        assert self.made is not None
        self._write(_record(_names(rows), rows.features))
        self._note(rows)

    def begin(self, made: MadeWith, before: Iterable[Rows] = ()) -> None:
        """Write with what features are made, and those of before, all or none of them."""
        self.made = made
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            file.write(_record({"made": made.model_dump(mode="json")}, np.empty((0, 0), np.float32)))
            for rows in before:
                file.write(_record(_names(rows), rows.features))
                self._note(rows)
        self._end = self.path.stat().st_size

    def rows(self) -> Iterator[Rows]:
        """Give the features that count, of each image the latest."""
        number = 0
        for rows, _ in self._records(self._end):
            if rows is None:
                continue
            places = [i for i, file in enumerate(rows.files) if self._last[file] == number + i]
            number += len(rows)
            yield rows if len(places) == len(rows) else rows.chosen(places)

    def remove(self) -> None:
        """Take the file away."""
        self.path.unlink(missing_ok=True)

    def _note(self, rows: Rows) -> None:
        for place, file in enumerate(rows.files):
            self._last[file] = self._rows + place
            self.known[file] = rows.contents[place]
        self._rows += len(rows)

    def _write(self, record: bytes) -> None:
        try:
            with open(self.path, "r+b") as file:
                file.seek(self._end)
                file.truncate()
                file.write(record)
            self._end += len(record)
        except OSError as error:
            kept = f"; {self._rows:,} images are kept there, and the same command goes on" if self._rows else ""
            raise OutputError(f"can't write {self.path}: {error.strerror}; make room{kept}") from None

    def _records(self, end: int) -> Iterator[tuple[Rows | None, int]]:
        """Give the whole records up to a byte, and where each ends; what comes behind them is written over."""
        with open(self.path, "rb") as file:
            while file.tell() < end and (found := _read(file)) is not None:
                rows = None
                try:
                    if "made" in found[0]:
                        self.made = MadeWith.model_validate(found[0]["made"])
                    else:
                        rows = _rows_of(*found)
                except (ValidationError, ValueError, TypeError, KeyError):
                    return
                yield rows, file.tell()


def _names(rows: Rows) -> dict[str, Any]:
    return {"files": rows.files, "contents": rows.contents, "labels": rows.labels}


def _record(plain: dict[str, Any], features: Features) -> bytes:
    text, data = json.dumps(plain).encode(), np.ascontiguousarray(features, "<f4").tobytes()
    return b"%08x %08x %016x\n" % (zlib.crc32(data, zlib.crc32(text)), len(text), len(data)) + text + data


def _read(file: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    head = file.read(HEAD)
    try:
        crc, size, length = (int(part, 16) for part in head.split())
        if len(head) < HEAD or size > MAX_JSON or size + length > os.fstat(file.fileno()).st_size:
            return None
        text, data = file.read(size), file.read(length)
        if zlib.crc32(data, zlib.crc32(text)) != crc:
            return None
        plain = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return (plain, data) if isinstance(plain, dict) else None


def _rows_of(plain: dict[str, Any], data: bytes) -> Rows:
    files, contents, labels = (tuple(plain[name]) for name in ("files", "contents", "labels"))
    if not len(files) == len(contents) == len(labels) > 0:
        raise ValueError("the record's parts differ in length")
    return Rows(files, contents, labels, np.frombuffer(data, "<f4").reshape(len(files), -1))


@contextmanager
def alone_with(out: Path) -> Iterator[Journal]:
    """Give the journal of a file to be, which no other process writes meanwhile. Raises OutputError where one does."""
    lock = FileLock(f"{out}{LOCK}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if not Path(lock.lock_file).exists():  # it could not be made, which filelock tries again
            raise OutputError(f"can't write {out}: nothing can be made beside it; choose another place") from None
        raise OutputError(f"{out} is being written by another process; wait for it, or choose another --out") from None
    except OSError as error:
        raise OutputError(f"can't write {out}: {error.strerror}; choose another place by --out") from None
    try:
        yield Journal(Path(f"{out}{PARTIAL}"))
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
