"""What tasks answer and measure, as records: a row for an image, an evaluation of a split, a table of its figures."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

from moganet.numbers import percent
from moganet.results import Member, Record, Result

UNLIKE = "(unlike what it was trained on)"


class CocoResult(TypedDict, total=False):
    """One thing that was found, in COCO's list of results. bbox: left, top, width, height; segmentation: runs (RLE)."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
    segmentation: Mapping[str, object]
    keypoints: list[float]


class Row(Record):
    """What is answered for one image, as JSON has it.

    truth: where it is known. untrained: it means nothing yet. rejected: it is unlike those that were trained on. tta:
    over which views of the image the answer is the mean, where there are several. time: of a video's frame, in
    seconds from the first.
    """

    file: str
    time: float | None = None
    truth: Any = None
    untrained: bool = False
    rejected: bool | None = None
    tta: str | None = None
    bars_of: ClassVar[str] = "probability"

    def remarks(self) -> list[str]:
        """Say in words what is to be known of the answer."""
        return ["(untrained)"] * self.untrained + [UNLIKE] * bool(self.rejected)

    def rejected_cell(self) -> str:
        """Say in a CSV file's cell whether the image is unlike the training images."""
        return {True: "yes", False: "no", None: ""}[self.rejected]

    @classmethod
    def made(cls, file: str, truth: Any, *, trained: bool, **more: Any) -> Self:
        """Make one of what is known: of what is None there is no key."""
        every = {"truth": truth, "untrained": None if trained else True, **more}
        return cls(file=file, **{key: value for key, value in every.items() if value is not None})

    @abstractmethod
    def text(self) -> str:
        """Say the answer in one line."""

    def short(self) -> str:
        """Say the answer in a few words, to stand on a picture."""
        return self.text()

    def bars(self) -> Iterable[tuple[str, float]]:
        """Give what is drawn as bars: names, each with a share (`bars_of`); nothing where `text` says it all."""
        return ()

    def truth_text(self) -> str | None:
        """Say the truth, where it is known."""
        return None if self.truth is None else str(self.truth)

    @abstractmethod
    def cells(self) -> Iterable[Sequence[object]]:
        """Give the lines of a CSV file, in the columns that the task names."""


class Named(Record):
    """A class, and how likely it is."""

    name: str
    probability: float


class NamedRow(Row):
    """An image's classes, the likeliest first."""

    classes: tuple[Named, ...]

    @classmethod
    def of(cls, file: str, answer: Any, truth: Any, *, trained: bool, **more: Any) -> Self:
        """Make one of an answer's names and probabilities, and of what more is known."""
        named = zip(answer.names, answer.probabilities, strict=True)
        classes = tuple(Named(name=n, probability=p) for n, p in named)
        return cls.made(file, truth, trained=trained, classes=classes, **more)

    def bars(self) -> Iterable[tuple[str, float]]:
        return [(one.name, one.probability) for one in self.classes]

    def named(self) -> str:
        """Say the classes, each with its probability."""
        return ", ".join(f"{one.name} {percent(one.probability)}" for one in self.classes)


@dataclass(frozen=True)
class Table:
    """Rows under heads, for a person; numbers: the heads of columns that stand to the right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = ()


class Evaluation(Result):
    """How good a model is on a split; each task adds its own figures.

    images_per_second: decoding included, of large JPEGs at a fraction of their size where
    fast_decoding. unreadable: files that count nowhere. out, files, unwritten: where which files
    of it lie, or why they do not. tta: over which views of an image the answers are means, where there are several.
    boxes: whose boxes were looked in, where they are not those that the data mark.
    models: those that answered as one, where several did; `model` has all of their names then, and sha256 is empty.
    """

    data: str
    split: str
    num_images: int
    images_per_second: float
    seconds: float
    unreadable: tuple[Record, ...]
    model: str
    sha256: str
    runtime: str
    precision: str
    untrained: bool
    fast_decoding: bool = False
    tta: str | None = None
    tiles: int | None = None
    boxes: str | None = None
    models: tuple[Member, ...] = ()
    out: str | None = None
    files: tuple[str, ...] = ()
    unwritten: str | None = None

    def heading(self) -> str:
        """Say what was measured on what."""
        return f"{type(self).__name__} of {self.model} on {self.data} ({self.split}), {self.num_images:,} images"

    def pictures(self) -> Sequence[Path]:
        """Give what was drawn of it, where it was written."""
        return [Path(self.out or "", name) for name in self.files if name.endswith(".png")]

    @abstractmethod
    def headline(self) -> str:
        """Say the most important figure in a few words."""

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """Say the figures, a line each."""

    @abstractmethod
    def table(self) -> Table:
        """Give the figures of each class."""
