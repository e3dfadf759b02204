"""What a detector answers: boxes with their classes, and masks where the model has them, in an image's own pixels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from moganet.numbers import percent
from moganet.results import Record
from moganet.tasks.detect.scenes import Things, found_in, pasted_each
from moganet.tasks.detect.seeing import found_at
from moganet.tasks.records import Row
from moganet.tasks.task import Outputs

COLUMNS = ("file", "name", "score", "left", "top", "right", "bottom", "pixels")
SHOWN = 5  # classes in a line of text


@dataclass(frozen=True, eq=False)
class Detections:
    """All that was found in an image of a size (height, width), the surest first, and what of it is shown.

    boxes (n, 4): left, top, right, bottom. scores, labels (n,). masks (n, 28, 28): of each box, as the network gives
    them. cuts: the score from which on each class is shown.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.float32] | None
    size: tuple[int, int]
    class_names: tuple[str, ...]
    cuts: tuple[float, ...]
    top_k: int | None = None

    @cached_property
    def shown(self) -> list[int]:
        """Give the places of those that are sure enough, and of these `top_k` at the most."""
        sure: list[int] = np.flatnonzero(self.scores >= np.array(self.cuts, np.float64)[self.labels]).tolist()
        return sure[: self.top_k]

    @property
    def names(self) -> tuple[str, ...]:
        """Name the classes of what is shown, the surest first."""
        return tuple(dict.fromkeys(self.class_names[self.labels[i]] for i in self.shown))

    def mask(self, place: int) -> NDArray[np.bool_] | None:
        """Give the mask (H, W) of one."""
        if self.masks is None:
            return None
        one = slice(place, place + 1)
        return next(pasted_each(self.masks[one], self.boxes[one], self.size))

    @cached_property
    def pixels(self) -> dict[int, int]:
        """Count the pixels of each mask that is shown, by its place."""
        return {} if self.masks is None else {i: int(self._of(i).sum()) for i in self.shown}

    def _of(self, place: int) -> NDArray[np.bool_]:
        mask = self.mask(place)
        assert mask is not None
        return mask

    def things(self) -> Things:
        """Give all that was found, as COCO's evaluation takes it."""
        outputs: dict[str, NDArray[Any]] = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        return found_in(outputs | ({} if self.masks is None else {"masks": self.masks}), self.size)

    def drawn(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw what is shown on the image uint8 (C, H, W); gives (H, W, 3)."""
        from moganet.report.boxes import Drawn, colours_of, with_things  # and matplotlib's fonts

        colours = colours_of(len(self.class_names))
        return with_things(
            image,
            [
                Drawn(
                    self.boxes[i].tolist(),
                    f"{self.class_names[self.labels[i]]} {percent(float(self.scores[i]), 0)}",
                    colours[self.labels[i]],
                    self.mask(i),
                )
                for i in self.shown
            ],
        )

    def said(self) -> str:
        """Say what is shown in a few words."""
        return counted_names([self.class_names[self.labels[i]] for i in self.shown])


def detections(
    outputs: Outputs, class_names: tuple[str, ...], cuts: tuple[float, ...], top_k: int | None = None
) -> list[Detections]:
    """Give an answer for each image of outputs that are in the images' own pixels. top_k: as in Detections."""
    found = []
    for place, (height, width) in enumerate(outputs["size"].tolist()):
        one = found_at(outputs, place)
        labels, size = one["labels"].astype(np.int64), (int(height), int(width))
        known = one["boxes"], one["scores"], labels, one.get("masks")
        found.append(Detections(*known, size, class_names, cuts, top_k))
    return found


class Runs(Record):
    """A mask in COCO's compressed runs (RLE). size: height and width."""

    size: tuple[int, int]
    counts: str


class Found(Record):
    """A thing: its class, how sure that is, its box (left, top, right, bottom) in pixels, and how many its mask has.

    mask: in COCO's runs (RLE), where a service sends it.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]
    pixels: int | None = None
    mask: Runs | None = None


class Marked(Record):
    """A thing that is marked in an image: its class, and its box (left, top, right, bottom) in pixels."""

    name: str
    box: tuple[float, float, float, float]


class DetectRow(Row):
    """The things that an image shows, the surest first. truth: those that are marked in it. picture: what was drawn."""

    bars_of: ClassVar[str] = "score"

    objects: tuple[Found, ...]
    truth: tuple[Marked, ...] | None = None
    picture: str | None = None

    @classmethod
    def of(cls, file: str, answer: Detections, truth: tuple[Marked, ...] | None, *, trained: bool) -> "DetectRow":
        """Make one of an answer."""
        objects = tuple(
            Found(
                name=answer.class_names[answer.labels[i]],
                score=float(answer.scores[i]),
                box=tuple(answer.boxes[i].tolist()),
                **({"pixels": answer.pixels[i]} if answer.masks is not None else {}),
            )
            for i in answer.shown
        )
        return cls.made(file, truth, trained=trained, objects=objects)

    def text(self) -> str:
        """Say how many of which class there are, in one line."""
        return " ".join([counted_names([one.name for one in self.objects]), *self.remarks()])

    def truth_text(self) -> str | None:
        return None if self.truth is None else counted_names([one.name for one in self.truth])

    def cells(self) -> Iterable[Sequence[object]]:
        """Give a line a thing; an image without any has one line too."""
        if not self.objects:
            yield self.file, *[""] * (len(COLUMNS) - 1)
        for one in self.objects:
            sides = [f"{side:.2f}" for side in one.box]
            yield self.file, one.name, f"{one.score:.6f}", *sides, "" if one.pixels is None else one.pixels


def counted_names(names: Sequence[str]) -> str:
    """Say how many of which name there are, the commonest first."""
    counts = Counter(names)
    named = [f"{number} {name}" for name, number in counts.most_common(SHOWN)]
    return ", ".join(named) + (f", {len(counts) - SHOWN} more classes" if len(counts) > SHOWN else "") or "nothing"
