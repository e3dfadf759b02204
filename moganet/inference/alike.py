"""Which images are like others by their features, which of them are copies, and which pictures are gone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moganet.data.duplicates import is_near_copy
from moganet.data.survey import small_images, thumbnails
from moganet.embeddings.rows import Rows
from moganet.embeddings.search import Near, Nearest
from moganet.inference.pictures import Pictures
from moganet.results import Record


class Alike(Record):
    """An image that is like the one asked about: the cosine of their features, 1 where they point the same way.

    label: where it is known. copy_of_it: "copy" of the very bytes, "near copy" of the same picture. picture_missing:
    why it can't be shown, so that it was not told whether it is a near copy.
    """

    file: str
    similarity: float
    label: str | None = None
    copy_of_it: str | None = None
    picture_missing: str | None = None

    def remark(self) -> str:
        """Say what is to be known of it."""
        return self.copy_of_it or (f"no picture: {self.picture_missing}" if self.picture_missing else "")


class Asked(Record):
    """An image that was asked about, and what is most like it. itself: it is among the others too, and left out."""

    file: str
    itself: bool
    found: tuple[Alike, ...]


@dataclass(frozen=True)
class Search:
    """Images that are asked about (N rows), and what was found for each among others, with the pictures of both."""

    own: Rows
    nearest: Nearest
    itself: Sequence[bool]
    own_pictures: Pictures
    pictures: Pictures

    def asked(self) -> Iterator[Asked]:
        """Say what was found for each, which of it are copies, and where that can't be told, why."""
        for place, found in enumerate(self.nearest.found):
            alike = tuple(self._alike(place, found))
            yield Asked(file=self.own.files[place], itself=self.itself[place], found=alike)

    def _alike(self, place: int, found: Sequence[Near]) -> Iterator[Alike]:
        (own,), _ = _shown(small_images, self.own_pictures, [self._self(place)])
        pictures, missing = _shown(small_images, self.pictures, found)
        for near, picture, why in zip(found, pictures, missing, strict=True):
            more = {"label": near.label, "picture_missing": why}
            if near.content == self.own.contents[place]:
                more["copy_of_it"] = "copy"
            elif own is not None and picture is not None and is_near_copy(own, picture):
                more["copy_of_it"] = "near copy"
            known = {name: value for name, value in more.items() if value is not None}
            yield Alike(file=near.file, similarity=near.similarity, **known)

    def thumbnails(self, place: int, side: int) -> tuple[Any, list[Any]]:
        """Give a picture uint8 (side, side, 3) of what was asked about, and those of what was found, None without."""

        def small(split: Any, places: Sequence[int]) -> list[Any]:
            return list(thumbnails(split, places, side))

        (own,), _ = _shown(small, self.own_pictures, [self._self(place)])
        return own, _shown(small, self.pictures, self.nearest.found[place])[0]

    def _self(self, place: int) -> Near:
        return Near(place, self.own.files[place], self.own.contents[place], None, 1.0)


def search(own: Rows, others: Iterable[Rows], top_k: int, pictures: tuple[Pictures, Pictures]) -> Search:
    """Compare images with all others, of which the image itself is left out; pictures: their own, and the others'."""
    nearest, itself = Nearest(own.features, top_k), [False] * len(own)
    place_of = {Path(file).resolve(): place for place, file in enumerate(own.files)}
    contents = set(own.contents)
    for rows in others:
        left_out = np.zeros((len(own), len(rows)), bool)
        for number, (file, content) in enumerate(zip(rows.files, rows.contents, strict=True)):
            # Only where the contents are the same: it takes long to ask the system where a million paths lead.
            place = place_of.get(Path(file).resolve()) if content in contents else None
            if place is not None:
                left_out[place, number] = itself[place] = True
        nearest.add(rows, left_out)
    return Search(own, nearest, itself, *pictures)


def _shown(get: Any, pictures: Pictures, near: Sequence[Near]) -> tuple[list[Any], list[str | None]]:
    """Give what `get` gives of the pictures that are there, None for others, and why those are not."""
    split, places = pictures.of(near)
    made = iter(get(split, [place for place in places if isinstance(place, int)]))
    missing = [None if isinstance(place, int) else place for place in places]
    return [next(made) if why is None else None for why in missing], missing
