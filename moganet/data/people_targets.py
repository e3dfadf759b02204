"""The targets of images in which key points are marked: of each image all that lie there, or one thing at a time.

What a thing is, is the source's to say: a person, an animal, a tool. Boxes are x, y, width, height in pixels; a key
point is x, y and how it is marked: 0 not at all, 1 where it can't be seen, 2 where it can.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.data.contents import hash_bytes
from moganet.data.ragged import Ragged, RaggedTargets
from moganet.data.skeletons import Skeleton
from moganet.data.source import Dataset, FileSplit
from moganet.numbers import count

Item = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class People(Ragged):
    """What is marked in some images (M) by key points (K): all things (N).

    images (M): a number for each, no other image of the set has it.
    ids (M): those that the file gives them.
    boxes (N, 4). points (N, K, 3). areas (N): in pixels, as OKS has them. crowds (N): marks of many at once, which are
    neither learned nor counted.
    """

    skeleton: Skeleton
    images: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    points: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    OF_IMAGES = ("images", "ids")
    OF_THINGS = ("boxes", "points", "areas", "crowds")

    @cached_property
    def is_marked(self) -> NDArray[np.bool_]:
        """Tell of which things (N,) a key point is marked, of one alone."""
        return np.asarray((self.points[..., 2] > 0).any(1) & ~self.crowds)


@dataclass(frozen=True)
class PeopleTargets(RaggedTargets[People]):
    """All that is marked in each of some images."""

    def __getitem__(self, index: int) -> Item:
        people, own = self.marks, self.marks.rows(int(self.places[index]))
        found = {name: torch.from_numpy(getattr(people, name)[own]) for name in People.OF_THINGS}
        return {**found, "image": torch.tensor(int(people.images[self.places[index]]))}

    def mapped(self, order: Sequence[int], number: int) -> Self:
        points = np.zeros((len(self.marks.points), number, 3))
        known = [(own, place) for own, place in enumerate(order) if place >= 0]
        points[:, [place for _, place in known]] = self.marks.points[:, [own for own, _ in known]]
        return replace(self, marks=replace(self.marks, points=points))

    def stack(self, targets: Sequence[Item]) -> list[Item]:
        return list(targets)

    def strata(self) -> NDArray[np.int64]:
        """Tell which key points (N, K) are marked in each image."""
        marked, people = np.zeros((len(self), self.marks.points.shape[1]), np.int64), self.marks
        for row, place in enumerate(self.places.tolist()):
            own = people.rows(place)
            marked[row] = (people.points[own][people.is_marked[own], :, 2] > 0).any(0)
        return marked

    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.strata().any(1))

    def key_points(self) -> NDArray[np.int64]:
        return np.asarray(self.strata().sum(0))

    @property
    def image_ids(self) -> list[int]:
        """Give the ids of the images in the file of annotations."""
        return [int(number) for number in self.marks.ids[self.places]]

    def boxes(self, index: int) -> NDArray[np.float64]:
        own, people = self.marks.rows(int(self.places[index])), self.marks
        boxes = people.boxes[own][people.is_marked[own]]
        return np.column_stack([boxes, np.ones(len(boxes))])

    def identity(self) -> bytes:
        return b"".join(self._hash(index) for index in range(len(self)))

    def _hash(self, index: int) -> bytes:
        own = self.marks.rows(int(self.places[index]))
        return hash_bytes(b"".join(getattr(self.marks, name)[own].tobytes() for name in People.OF_THINGS))

    def text(self, index: int, class_names: Sequence[str]) -> str:
        own = self.marks.rows(int(self.places[index]))
        things, points = int(self.marks.is_marked[own].sum()), int((self.marks.points[own][..., 2] > 0).sum())
        return f"{count(things, 'pose')}, {count(points, 'key point')} (marks {self._hash(index).hex()[:6]})"


@dataclass(frozen=True)
class PersonTargets(PeopleTargets):
    """One thing an item. things: which of those in the image at its place each is, counted from 0."""

    things: NDArray[np.int64]

    def __getitem__(self, index: int) -> Item:
        people, place, thing = self.marks, int(self.places[index]), int(self.things[index])
        row = int(people.starts[place]) + thing
        return {
            "box": torch.from_numpy(people.boxes[row]),
            "points": torch.from_numpy(people.points[row]),
            "area": torch.tensor(people.areas[row]),
            "image": torch.tensor(int(people.images[place])),
            "thing": torch.tensor(thing),
            "mirrored": torch.tensor(people.skeleton.mirrored),
            "lower": torch.tensor(people.skeleton.lower),
        }

    def subset(self, indices: Sequence[int]) -> Self:
        return replace(super().subset(indices), things=self.things[np.asarray(indices, np.int64)])

    def joined(self, others: Sequence[Self]) -> Self:
        return replace(super().joined(others), things=np.concatenate([one.things for one in (self, *others)]))

    def stack(self, targets: Sequence[Item]) -> Any:
        """Give each value of all as one tensor; nothing for none."""
        return {key: torch.stack([one[key] for one in targets]) for key in targets[0]} if targets else {}

    def strata(self) -> NDArray[np.int64]:
        rows = self.marks.starts[self.places] + self.things
        return (self.marks.points[rows, :, 2] > 0).astype(np.int64)


def apart(dataset: Dataset) -> Dataset:
    """Give a set of images of which each item is one of the things in them that can be learned."""
    made = {id(split): _apart(split) for split in dataset.splits.values()}
    return replace(dataset, splits={name: made[id(split)] for name, split in dataset.splits.items()})


def _apart(split: Any) -> FileSplit:
    targets = split.targets
    assert isinstance(targets, PeopleTargets) and isinstance(split, FileSplit)
    rows, things = list[int](), list[int]()
    for row, place in enumerate(targets.places.tolist()):
        found = np.flatnonzero(targets.marks.is_marked[targets.marks.rows(place)]).tolist()
        rows += [row] * len(found)
        things += found
    whose = targets.places[np.array(rows, np.int64)]
    parts = PersonTargets(targets.marks, whose, np.array(things, np.int64))
    return replace(split, files=[split.files[row] for row in rows], targets=parts, groups=None)
