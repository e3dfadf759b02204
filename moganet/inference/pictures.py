"""The pictures behind rows of features: found again by their names, which may have moved or changed since."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from moganet.data import Split, open_data
from moganet.data.contents import UNREADABLE
from moganet.data.paths import is_file
from moganet.embeddings.rows import MadeWith
from moganet.embeddings.search import Near
from moganet.errors import DataError
from moganet.inference.chosen import Chosen
from moganet.inference.own_data import choose_split
from moganet.inference.stream import split_of_files

MOVED = "there is no such file any more"
WITHIN = "it lies within another file, which is not looked into here"
CHANGED = "it is another picture than was embedded"


class Pictures(Protocol):
    """Where the pictures of rows are."""

    def of(self, near: Sequence[Near]) -> tuple[Split, list[int | str]]:
        """Give a split, and of each row its picture's place there, or why there is none."""


class OfChosen:
    """The pictures of images that were looked at just now."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen

    def of(self, near: Sequence[Near]) -> tuple[Split, list[int | str]]:
        return self.chosen.split, [self._where[one.file] for one in near]

    @cached_property
    def _where(self) -> dict[str, int]:
        return _places(self.chosen.split)


class OfFile:
    """The pictures of a file of features: files by their names, seen from here or from the file, or a data set's."""

    def __init__(self, path: Path, made: MadeWith) -> None:
        self.path, self.made = path, made

    def of(self, near: Sequence[Near]) -> tuple[Split, list[int | str]]:
        split, places = self._of_data(near) if self.made.data is not None else self._of_files(near)
        known = [place for place in places if isinstance(place, int)]
        now = dict(zip(known, split.subset(known).contents(), strict=True)) if known else {}
        for number, (one, place) in enumerate(zip(near, places, strict=True)):
            if isinstance(place, int) and now[place].hex() != one.content:
                places[number] = "it can't be read" if now[place] == UNREADABLE else CHANGED
        return split, places

    def _of_files(self, near: Sequence[Near]) -> tuple[Split, list[int | str]]:
        found = [next((place for place in self._may_be(one.file) if is_file(place)), None) for one in near]
        files = list(dict.fromkeys(place for place in found if place is not None))
        split = split_of_files(files, self.made.preprocessing.white_level)
        return split, [
            _lost(one.file) if place is None else files.index(place) for one, place in zip(near, found, strict=True)
        ]

    def _may_be(self, name: str) -> tuple[Path, Path]:
        return Path(name), self.path.parent / name

    def _of_data(self, near: Sequence[Near]) -> tuple[Split, list[int | str]]:
        try:
            split, where = self._data
        except DataError as error:
            return split_of_files([], None), [str(error)] * len(near)
        return split, [where.get(one.file, f"{self.made.data} has it no more") for one in near]

    @cached_property
    def _data(self) -> tuple[Split, dict[str, int]]:
        assert self.made.data is not None and self.made.split is not None
        dataset = open_data(self.made.data).with_white_level(self.made.preprocessing.white_level)
        _, split = choose_split(dataset, self.made.split)
        return split, _places(split)


def _places(split: Split) -> dict[str, int]:
    """Give where each image of a split is, by its name."""
    return {split.name_of(place): place for place in range(len(split))}


def _lost(name: str) -> str:
    """Say why there is no file of a name."""
    return WITHIN if any(map(is_file, Path(name).parents)) else MOVED
