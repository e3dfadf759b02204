"""What a task is given of a model's answers for its sections of the report, what it gives, and what tasks share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from moganet.data import ArraySplit, FileSplit, Split
from moganet.data.survey import thumbnails
from moganet.errors import DataError, MogaNetError
from moganet.numbers import percent
from moganet.report.page import Fact, Section, as_uri
from moganet.results import LeftOut, Record
from moganet.tasks.task import TaskDescription

MAX_PICTURES, MAX_FILES = 1500, 600  # files, and what a caller's code gives, take longer and need more room
MAX_SIDE = 64
MAX_ROWS = 20  # of the table of classes, before the rest is folded away


@dataclass(frozen=True)
class Answers:
    """What a network gave for the n readable images of a split.

    places: (n,), where they stand in it. outputs: (n, …), as the network gives them; targets: (n, …), the model's; or
    what the task keeps of both. seconds: what all of it took, reading included. features: (n, D), where the network
    gives them.
    """

    name: str
    split: Split
    places: np.ndarray
    outputs: Tensor
    targets: Tensor
    seconds: float
    unreadable: Sequence[LeftOut] = ()
    features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.places)

    def name_of(self, number: int) -> str:
        """Give the file's name, or the place in a set that is no files."""
        place = int(self.places[number])
        return self.split.files[place].name if isinstance(self.split, FileSplit) else self.split.name_of(place)


def in_parts(numbers: np.ndarray, lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Give numbers (k,) among images of several parts as (part, number in it)."""
    starts = np.cumsum([0, *lengths])
    places = np.searchsorted(starts, numbers, "right") - 1
    return list(zip(places.tolist(), (numbers - starts[places]).tolist(), strict=True))


class Album:
    """The pictures that a page shows, each once, and the explanations beside them."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, int], int] = {}
        self.splits: dict[str, Split] = {}
        self.heats: list[np.ndarray] = []

    def add(self, name: str, split: Split, place: int) -> int:
        """Put an image of a split in, and give its number."""
        self.splits[name] = split
        return self.numbers.setdefault((name, int(place)), len(self.numbers))

    def is_full(self, split: Split) -> bool:
        """Tell whether there are as many pictures as a page of such a split bears."""
        return len(self.numbers) >= (MAX_PICTURES if isinstance(split, ArraySplit) else MAX_FILES)

    def pictures(self) -> list[np.ndarray]:
        """Give all pictures, uint8 (side, side, 3), in the order of their numbers."""
        if not self.numbers:
            return []
        arrays = [split.images.shape[-2:] for split in self.splits.values() if isinstance(split, ArraySplit)]
        side = min(MAX_SIDE, max(max(shape) for shape in arrays)) if arrays else MAX_SIDE
        found: dict[tuple[str, int], np.ndarray] = {}
        for name, split in self.splits.items():
            places = [place for of, place in self.numbers if of == name]
            found |= zip([(name, p) for p in places], thumbnails(split, places, side), strict=True)
        return [found[key] for key in self.numbers]


# (answers, numbers in them (k,)) to each image uint8 (C, H, W), its target, and what is answered for it.
Again = Callable[[Answers, Sequence[int]], Iterator[tuple[Tensor, Any, Any]]]
# (answers, numbers in them (k,), classes (k,)) to pictures of where the network looked for these, uint8 (s, s, 3).
Explained = Callable[[Answers, np.ndarray, np.ndarray], list[np.ndarray]]
Keep = Callable[[TaskDescription], None]  # writes what the model file is to say of its task


@dataclass(frozen=True)
class Seen:
    """A network's answers, and what a task may ask for.

    answers: for the split that is reported on. validation: for images that were held back, where there are (it may be
    `answers` itself). fresh: those of both that were not trained on. data: the set's name, in words.
    description: what the model file says of its task. keep: None where the images are none of the model's own.
    explain: raises MogaNetError where a model can't be explained; None where that was not asked for. again: asks the
    network once more about some images, for a task whose answers are too large to be kept.
    """

    answers: Answers
    validation: Answers | None
    fresh: Sequence[Answers]
    data: str
    description: TaskDescription
    keep: Keep | None = None
    explain: Explained | None = None
    again: Again | None = None
    album: Album = field(default_factory=Album)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Give a name for each class that the network tells apart."""
        return self.description.class_names

    @property
    def parts(self) -> list[Answers]:
        """Give the answers that there are, each once."""
        same = self.validation is None or self.validation is self.answers
        return [self.answers] if same or self.validation is None else [self.answers, self.validation]

    def explained(self, answers: Answers, numbers: np.ndarray, classes: np.ndarray) -> tuple[range, dict[str, str]]:
        """Put explanations of images' classes (k,) in the album; give their numbers there, or why there are none."""
        if self.explain is None:
            return range(0), {"explanation": "Explanations were not asked for."}
        try:
            pictures = self.explain(answers, numbers, classes) if len(numbers) else []
        except MogaNetError as error:
            return range(0), {"explanation": f"Explanations are left out: {error}."}
        first = len(self.album.heats)
        self.album.heats += pictures
        return range(first, len(self.album.heats)), {}


@dataclass(frozen=True)
class Reported:
    """The page's title (headline: with all digits), what stands at its top, its sections; the result's own keys."""

    title: str
    headline: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    result: Mapping[str, float | int | None] = field(default_factory=dict)


# An image's number, its pixels uint8 (C, H, W), its target and its answer to pictures uint8 (H, W, 3) and some words.
Draw = Callable[[int, NDArray[np.uint8], Any, Any], tuple[Sequence[NDArray[np.uint8]], str]]


@dataclass(frozen=True)
class SideBySide:
    """How some images are shown, each by several pictures side by side.

    note: what these are. kinds: what each is, before the image's name. side: of the longer side of a picture, in
    pixels. legend: names, each with its colour.
    """

    note: str
    kinds: tuple[str, ...]
    draw: Draw
    side: int = 320
    legend: Sequence[Mapping[str, str]] = ()

    def section(self, kicker: str, title: str, seen: Seen, numbers: Sequence[int]) -> Section:
        """Ask the network about some of the answered images once more, and show them."""
        shown, left_out = list[dict[str, Any]](), dict[str, str]()
        try:
            again = seen.again(seen.answers, numbers) if seen.again is not None and numbers else iter(())
            for number, (image, target, answer) in zip(numbers, again, strict=False):
                pictures, said = self.draw(number, image.numpy(), target, answer)
                uris = [self._as_uri(one) for one in pictures]
                shown.append({"name": seen.answers.name_of(number), "said": said, "pictures": uris})
        except DataError as error:  # a file that has gone since
            left_out = {kicker.lower(): str(error)}
        content = {"note": self.note, "kinds": self.kinds, "legend": self.legend, "shown": shown}
        template = "moganet.report/side_by_side"
        return Section(kicker, title, f"{template}.html", content, f"{template}.css", left_out=left_out)

    def _as_uri(self, pixels: NDArray[np.uint8]) -> str:
        picture = Image.fromarray(pixels)
        picture.thumbnail((self.side, self.side))
        return as_uri(picture, "WEBP", quality=70, method=2)


def classes_section(per_class: Sequence[Record], key: str, words: tuple[str, str], template: str) -> Section:
    """Show a row a class, the hardest first by its figure of that key. words: as in `say_classes`."""
    rows = sorted(per_class, key=lambda one: (one[key] is None, one[key] or 0.0))
    return Section("Classes", say_classes(rows, key, words), template, folded(rows))


def folded(rows: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Give the rows of a table of classes as templates show them: the first, and the others, which are folded away."""
    return {"first": rows[:MAX_ROWS], "others": rows[MAX_ROWS:]}


def say_classes(rows: Sequence[Record], key: str, words: tuple[str, str]) -> str:
    """Name the classes of the least and the highest figure, of rows that begin with the least.

    words: the figure, and what a class must have for it to be known ("images").
    """
    figure, what = words
    known = [(one["name"], percent(one[key])) for one in rows if one[key] is not None]
    if not known:
        return f"No class has {what}"
    absent = f"; {len(rows) - len(known)} of {len(rows)} classes have no {what}" if len(known) < len(rows) else ""
    (worst, least), (best, most) = known[0], known[-1]
    if len(known) == 1:
        return f"“{worst}” is the only class with {what}: {figure} {least}{absent}"
    return f"“{worst}” is the hardest class, {figure} {least}; “{best}” the easiest, {most}{absent}"
