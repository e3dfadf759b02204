"""The targets of images in which things are marked: boxes, classes, and masks where the set has outlines."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors

from moganet.data.boxes_check import GoodImage
from moganet.data.contents import hash_bytes
from moganet.data.outlines import Outline, Size
from moganet.data.ragged import Ragged, RaggedTargets
from moganet.data.targets import Marked

SHOWN = 4  # classes, in a line on an image
DROPPED = -1  # the class of things that a model does not know


@dataclass(frozen=True, eq=False)
class Marks(Ragged):
    """What is marked in all images of a set.

    boxes: (things, 4) left, top, right, bottom in pixels of the upright image. sizes: (images, 2) width, height.
    numbers: of things, as the set's files have them; images: of images, COCO's or counted from 1.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    numbers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images: NDArray[np.int64]
    outlines: tuple[Outline, ...] | None = None
    digests: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)  # of an image's things
    OF_IMAGES = ("sizes", "images")
    OF_THINGS = ("boxes", "labels", "crowd", "areas", "numbers")

    @classmethod
    def of(cls, images: Sequence[GoodImage], *, masks: bool) -> Self:
        """Put images, and what lies in them, into arrays."""
        things = [thing for image in images for thing in image.things]
        counts = [0, *(len(image.things) for image in images)]
        outlines = tuple(thing.outline for thing in things if thing.outline is not None) if masks else None
        assert outlines is None or len(outlines) == len(things)
        numbers = [i + 1 if image.raw.number is None else image.raw.number for i, image in enumerate(images)]
        return cls(
            np.cumsum(counts, dtype=np.int64),
            np.array([thing.box for thing in things], np.float64).reshape(-1, 4),
            np.array([thing.label for thing in things], np.int64),
            np.array([thing.crowd for thing in things], np.bool_),
            np.array([thing.area for thing in things], np.float64),
            np.array([thing.number for thing in things], np.int64),
            np.array([image.size for image in images], np.int64).reshape(-1, 2),
            np.array(numbers, np.int64),
            outlines,
        )

    def joined(self, others: Sequence[Self]) -> Self:
        outlines = [marks.outlines for marks in (self, *others)]
        every = None if any(one is None for one in outlines) else tuple(o for one in outlines for o in one or ())
        return replace(super().joined(others), outlines=every, digests={})

    def digest(self, place: int) -> bytes:
        """Give 16 bytes that depend on all that is marked in an image."""
        if place not in self.digests:
            rows, digest = self.rows(place), hashlib.sha256()
            for values in (self.boxes, self.labels, self.crowd, self.areas):
                digest.update(np.ascontiguousarray(values[rows]).tobytes() + b"|")
            for outline in self.outlines[rows] if self.outlines is not None else ():
                parts = [outline.runs] if outline.runs is not None else outline.polygons
                digest.update(b"".join(part.tobytes() + b";" for part in parts))
            self.digests[place] = digest.digest()[:16]
        return self.digests[place]


@dataclass(frozen=True)
class BoxTargets(RaggedTargets[Marks]):
    """What is marked in each image: a dict of

    boxes (n, 4) tv_tensors.BoundingBoxes, XYXY, float32; labels (n,) int64; crowd (n,) bool, of what is neither learned
    nor counted; area (n,) float64, by which COCO's evaluation divides things; numbers (n,), of the annotations;
    image_id; size (2,) height, width; and masks (n, H, W) tv_tensors.Mask, uint8, where the set has outlines.

    order: what became of the set's classes. category_ids: COCO's numbers of the classes, where the set has them.
    """

    num_classes: int
    category_ids: tuple[int, ...] = ()
    order: NDArray[np.int64] | None = None
    may_differ: ClassVar[bool] = True

    @property
    def image_ids(self) -> list[int]:
        """Give the images' numbers, COCO's or counted from 1."""
        found: list[int] = self.marks.images[self.places].tolist()
        return found

    @property
    def has_masks(self) -> bool:
        return self.marks.outlines is not None

    def __getitem__(self, index: int) -> dict[str, Any]:
        marks, place = self.marks, int(self.places[index])
        (rows, labels), (width, height) = self.kept(index), marks.sizes[place].tolist()
        boxes = torch.from_numpy(marks.boxes[rows].astype(np.float32))
        found: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
            "labels": torch.from_numpy(labels),
            "crowd": torch.from_numpy(marks.crowd[rows]),
            "area": torch.from_numpy(marks.areas[rows]),
            "numbers": torch.from_numpy(marks.numbers[rows]),
            "image_id": int(marks.images[place]),
            "size": torch.tensor([height, width]),
        }
        if marks.outlines is not None:
            found["masks"] = tv_tensors.Mask(_drawn([marks.outlines[row] for row in rows.tolist()], (width, height)))
        return found

    def kept(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the rows, in `marks`, of the things in an image that have a class, and their classes."""
        own = self.marks.rows(int(self.places[index]))
        labels = self._labels(own)
        known = np.flatnonzero(labels != DROPPED)
        return own.start + known, labels[known]

    def _labels(self, rows: "slice | NDArray[np.int64]") -> NDArray[np.int64]:
        labels = self.marks.labels[rows]
        return labels if self.order is None else self.order[labels]

    def mapped(self, order: Sequence[int], number: int) -> Self:
        new = np.array(order, np.int64)
        if self.order is not None:
            new = np.where(self.order == DROPPED, DROPPED, new[self.order]).astype(np.int64)
        return replace(self, order=new, num_classes=number, category_ids=())

    def stack(self, targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give a list of dicts, as a batch of detectors' targets is."""
        return [{key: _plain(value) for key, value in target.items()} for target in targets]

    def objects(self) -> NDArray[np.int64]:
        """Count the things of each class in each image (N, classes), crowds left out."""
        rows, images = self._rows()
        kept = ~self.marks.crowd[rows]
        found = np.zeros((len(self), self.num_classes), np.int64)
        np.add.at(found, (images[kept], self._labels(rows)[kept]), 1)
        return found

    def marked(self) -> Marked:
        rows, _ = self._rows()
        crowd, counts = self.marks.crowd[rows], self.objects()
        small, medium, large = np.histogram(self.marks.areas[rows][~crowd], [0, 32**2, 96**2, np.inf])[0].tolist()
        return Marked(counts.sum(0), small, medium, large, int(crowd.sum()), int((counts.sum(1) == 0).sum()))

    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the rows of all things that have a class, and of which image each is."""
        starts = self.marks.starts[self.places]
        counts = self.marks.starts[self.places + 1] - starts
        images = np.repeat(np.arange(len(self)), counts)
        rows = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
        known = self._labels(rows) != DROPPED
        return rows[known], images[known]

    def strata(self) -> NDArray[np.int64]:
        return (self.objects() > 0).astype(np.int64)

    def lying(self) -> NDArray[np.bool_]:
        sizes = self.marks.sizes[self.places]
        return np.asarray(sizes[:, 0] > sizes[:, 1])

    def identity(self) -> bytes:
        order = b"" if self.order is None else self.order.tobytes()
        return b"".join(hash_bytes(self.marks.digest(place) + order) for place in self.places.tolist())

    def text(self, index: int, class_names: Sequence[str]) -> str:
        _, labels = self.kept(index)
        counts = np.bincount(labels, minlength=len(class_names))
        order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
        shown = [f"{counts[i]} {class_names[i]}" for i in order[:SHOWN]]
        more = ", …" if len(order) > SHOWN else ""
        return f"{', '.join(shown) or 'nothing'}{more} (boxes {self.marks.digest(int(self.places[index])).hex()[:6]})"


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Tensor) else value


def _drawn(outlines: Sequence[Outline], size: Size) -> Tensor:
    masks = np.zeros((len(outlines), size[1], size[0]), np.uint8)
    for mask, outline in zip(masks, outlines, strict=True):
        mask[:] = outline.mask(size)
    return torch.from_numpy(masks)
