"""What a segmenter answers: a class for each pixel of the image, as indices, areas, colours, and COCO's runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from moganet.data.outlines import compressed, runs_of_mask
from moganet.numbers import percent
from moganet.report.masks import Colour, painted_over
from moganet.results import Record
from moganet.tasks.records import Row
from moganet.tasks.segment.labels import Labels

COLUMNS = ("file", "truth", "name", "pixels", "share")
SHOWN = 5  # classes in a line of text


@dataclass(frozen=True)
class Segmentation:
    """An image's answer: labels (H, W), the index of each pixel's class, at the image's own size.

    class_names: of all classes. palette: a colour for each.
    """

    labels: Labels
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """Count the pixels of each class (classes,)."""
        return np.bincount(self.labels.ravel(), minlength=len(self.class_names)).astype(np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the classes that the image shows, the largest first."""
        return tuple(self.class_names[i] for i in self.order)

    @cached_property
    def order(self) -> list[int]:
        """Give the classes that the image shows, the largest first."""
        order: list[int] = np.argsort(-self.pixels, kind="stable").tolist()
        return [i for i in order if self.pixels[i]]

    def overlay(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lay the classes' colours over the image uint8 (H, W, 3)."""
        return painted_over(image, self.labels, self.palette)


class Area(Record):
    """A class and how much of an image it covers."""

    name: str
    pixels: int
    share: float


class Runs(Record):
    """A class's pixels in COCO's compressed runs. size: height and width."""

    name: str
    size: tuple[int, int]
    counts: str


class SegmentRow(Row):
    """The classes that an image shows, the largest first. truth: the classes of its mask.

    mask: the PNG's file, or itself as a data URI. runs: the pixels of each class.
    """

    classes: tuple[Area, ...]
    truth: tuple[str, ...] | None = None
    mask: str | None = None
    overlay: str | None = None
    runs: tuple[Runs, ...] | None = None
    bars_of = "share of the image"

    @classmethod
    def of(cls, file: str, answer: Segmentation, truth: tuple[str, ...] | None, *, trained: bool) -> "SegmentRow":
        """Make one of an answer."""
        total = max(1, answer.labels.size)
        areas = tuple(
            Area(name=answer.class_names[i], pixels=int(answer.pixels[i]), share=int(answer.pixels[i]) / total)
            for i in answer.order
        )
        return cls.made(file, truth, trained=trained, classes=areas)

    def bars(self) -> Iterable[tuple[str, float]]:
        return [(one.name, one.share) for one in self.classes]

    def text(self) -> str:
        """Say the largest classes in one line."""
        named = [f"{one.name} {percent(one.share)}" for one in self.classes[:SHOWN]]
        more = f", {len(self.classes) - SHOWN} more" if len(self.classes) > SHOWN else ""
        return " ".join([", ".join(named) + more, *self.remarks()])

    def cells(self) -> Iterable[Sequence[object]]:
        """Give a line a class."""
        truth = "|".join(self.truth or ())
        for one in self.classes:
            yield self.file, truth, one.name, one.pixels, f"{one.share:.6f}"


def runs_of(answer: Segmentation) -> tuple[Runs, ...]:
    """Give the pixels of each class that an answer finds."""
    height, width = answer.labels.shape
    return tuple(
        Runs(name=answer.class_names[i], size=(height, width), counts=compressed(runs_of_mask(answer.labels == i)))
        for i in answer.order
    )
