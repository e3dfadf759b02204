"""The images that people name: paths, folders, patterns, lists, archives, videos, "-" for a list on standard input."""

import glob
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from moganet.data.archives import is_archive, list_members
from moganet.data.contents import ImageFile
from moganet.data.paths import exists
from moganet.data.scan import list_images
from moganet.data.table_columns import usual_column
from moganet.data.table_images import find_images, is_empty
from moganet.data.table_read import TABLE_SUFFIXES, read_table
from moganet.data.videos import Every, is_video, list_frames
from moganet.errors import DataError
from moganet.files import names_in, read_names, typed_path
from moganet.notices import say
from moganet.results import LeftOut

LIST_SUFFIXES = (".txt", ".lst", ".list")
LARGEST_LIST = 1 << 30  # bytes


def list_files(patterns: Iterable[str | Path], every: Every | None = None) -> tuple[list[ImageFile], list[LeftOut]]:
    """Give the images that paths, folders, globs, lists, archives, videos and "-" name, each once, and what names none.

    every: which frames of a video. Raises MissingExtraError where a video, or a table in Parquet, needs an extra.
    """
    listing = _Listing(every)
    for pattern in map(str, patterns):
        for name in read_names(sys.stdin) if pattern == "-" else [pattern]:
            listing.add(name)
    return list(dict.fromkeys(listing.files)), listing.missing


@dataclass
class _Listing:
    """What was found so far. depth: of lists, in which no others are looked into."""

    every: Every | None
    files: list[ImageFile] = field(default_factory=list)
    missing: list[LeftOut] = field(default_factory=list)
    depth: int = 0

    def add(self, pattern: str) -> None:
        """Add what a name stands for."""
        try:
            found = _matches(pattern)
        except OSError as error:  # a name that is too long, a folder that may not be searched
            self._miss(pattern, str(error.strerror))
            return
        before = len(self.files), len(self.missing)
        for path in found:
            self._add_path(path)
        if before == (len(self.files), len(self.missing)):
            self._miss(pattern, _why_nothing(pattern))

    def _add_path(self, path: Path) -> None:
        if path.is_dir():
            self.files += list_images(path)
        elif not path.is_file() and path.exists():  # a pipe may never give an end
            self._miss(str(path), "it is neither a file nor a folder")
        else:
            self._add_file(path)

    def _add_file(self, path: Path) -> None:
        try:
            look = self._inside(path)
            self.files += [path] if look is None else look(path)
        except DataError as error:
            self._miss(str(path), str(error))
        except OSError as error:
            self._miss(str(path), error.strerror or str(error))

    def _miss(self, name: str, reason: str) -> None:
        self.missing.append(LeftOut(file=name, reason=reason))

    def _inside(self, path: Path) -> "Callable[[Path], Sequence[ImageFile]] | None":
        """Give what looks into a file that holds images, or names them; None for an image."""
        suffix = path.suffix.lower()
        if is_video(path):
            return partial(list_frames, every=self.every)
        if suffix in (*LIST_SUFFIXES, *TABLE_SUFFIXES):
            if self.depth:
                raise DataError("it is a list within a list; name it by itself")
            return self._of_list if suffix in LIST_SUFFIXES else _of_table
        return self._of_archive if is_archive(path) else None

    def _of_archive(self, path: Path) -> "Sequence[ImageFile]":
        found, fault = list_members(path)
        if fault:
            self._miss(str(path), fault)
        return found

    def _of_list(self, path: Path) -> "Sequence[ImageFile]":
        """Add what the lines of a text name: paths from its folder or, where these are not there, from here."""
        if path.stat().st_size > LARGEST_LIST:
            raise DataError(f"it is larger than {LARGEST_LIST:,} bytes, as no list of images is")
        self.depth += 1
        own = here = 0
        names = names_in(path.read_bytes(), path.parent)
        for name in names:
            beside = path.parent / typed_path(name)
            is_own = exists(beside) or bool(glob.has_magic(name) and glob.glob(str(beside), recursive=True))
            if not typed_path(name).is_absolute():
                own, here = own + is_own, here + (not is_own and exists(typed_path(name)))
            self.add(str(beside) if is_own else name)
        self.depth -= 1
        if not names:
            raise DataError("the list is empty; give a path a line")
        if path.parent.resolve() != Path.cwd() and (own or here):
            say(f"relative paths of {path} start at its folder ({own:,}), else at the current one ({here:,})")
        return ()


def _of_table(path: Path) -> "Sequence[ImageFile]":
    """Give the images that the rows of a table name, by the rules of a data set's table."""
    table = read_table(path)
    column, label = usual_column(table, "path"), usual_column(table, "label", required=False)
    assert column is not None
    cells = table.column(column)
    kept = [place for place, cell in enumerate(cells) if not is_empty(cell)]
    images, notes = find_images(path, column, [cells[i] for i in kept], [table.places[i] for i in kept])
    for note in (*table.notes, *table.faults, *notes):
        say(note)
    if len(kept) < len(cells):
        say(f"passed over: {len(cells) - len(kept):,} rows of {path.name} without a path")
    labels = (
        f"; its column {label!r} is not looked at: --data table:{path} --split all knows the truth" if label else ""
    )
    say(f"took the column {column!r} of {path} for its images{labels}")
    return images


def _why_nothing(pattern: str) -> str:
    if Path(pattern).is_dir():
        return "the folder has no images"
    return "the pattern names no file" if glob.has_magic(pattern) else "there is no such file"


def _matches(pattern: str) -> list[Path]:
    path = typed_path(pattern)
    return [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
