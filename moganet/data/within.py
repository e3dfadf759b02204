"""Images within other files, which are read when they are asked for: members of archives, frames of videos."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from moganet.errors import DataError

KEPT = 64  # items that are held for threads that ask a little later than others
OPEN = 8  # files that are held open
# The lanes of those that draw and copy what was predicted, and tell contents; streams have those from 0 on.
PICTURES, COPIES, CONTENTS = -1, -2, -3
_opening = threading.Lock()


class Reader(Protocol):
    """An open file that holds images. in_turn: one is found behind the other only."""

    in_turn: ClassVar[bool]

    def __init__(self, path: Path, asked: Any) -> None: ...
    def read(self, place: int, /) -> bytes | np.ndarray: ...  # an encoded image, or pixels (H, W, 3)


@dataclass(frozen=True)
class Within:
    """An image within another file: the `place`-th that its `reader` finds there when it is `asked` for some of them.

    filename: for a person ("photos.zip/cats/1.jpg"). time: of a video's frame, seconds from the first. stamp: of the
    file, so that another of the same name is opened anew. lane: who reads; each lane has a reader of its own.
    """

    holder: Path
    place: int
    filename: str
    reader: type[Reader]
    time: float | None = None
    asked: Any = field(default=None, repr=False)
    stamp: tuple[int, int] = field(default=(0, 0), repr=False)
    lane: int = field(default=0, repr=False, compare=False)

    def __str__(self) -> str:
        return self.filename

    @property
    def name(self) -> str:  # as a path has it
        return self.filename.rpartition("/")[2]

    def load(self) -> bytes | np.ndarray:
        """Give the encoded image, or a frame's pixels (H, W, 3). Raises DataError; a library raises what it does."""
        with _opening:
            reader = _opened(self.reader, self.holder, self.asked, self.stamp, (self.lane, os.getpid()))
        return reader.read(self.place)

    def in_lane(self, lane: int) -> Self:
        """Give the same image for another who reads: neither reader has to go back for the other."""
        return replace(self, lane=lane)


def in_lane(files: Sequence[Any], lane: int) -> Sequence[Any]:
    """Give files, of which those within others are read in a lane."""
    return [file.in_lane(lane) if isinstance(file, Within) else file for file in files] if lane else files


def stamp_of(path: Path) -> tuple[int, int]:
    """Give what tells a file from another that took its name."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=OPEN)
def _opened(kind: type[Reader], path: Path, asked: Any, stamp: tuple[int, int], lane: tuple[int, int]) -> Reader:
    return kind(path, asked)


class InTurn:
    """Items that can be had one after the other only, for threads that ask for them nearly in that order.

    start: begins anew, and gives items with their numbers, which grow; what is not given is missing. Whoever asks for
    one that was passed long ago has all read again.
    """

    def __init__(self, start: Callable[[], Iterator[tuple[int, Any]]], missing: str) -> None:
        self.start, self.missing = start, missing
        self.lock, self.kept = threading.Lock(), dict[int, Any]()
        self.coming, self.next, self.has_ended = start(), 0, False

    def get(self, number: int) -> Any:
        """Give an item. Raises DataError for one that is missing."""
        with self.lock:
            if number < self.next and number not in self.kept:
                self.coming, self.next, self.has_ended = self.start(), 0, False
                self.kept.clear()
            while number >= self.next and not self.has_ended:
                self._advance(number)
            found = self.kept.pop(number, None)
        if found is None:
            raise DataError(self.missing)
        return found

    def _advance(self, number: int) -> None:
        found, item = next(self.coming, (None, None))
        if found is None:
            self.has_ended = True
            return
        for passed in range(max(self.next, number - KEPT), found):
            self.kept[passed] = None
        self.next = found + 1
        if found > number - KEPT:
            self.kept[found] = item
        while len(self.kept) > KEPT:
            del self.kept[next(iter(self.kept))]
