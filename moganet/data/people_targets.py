"""The targets of images in which key points are marked: of each image all that lie there, or one thing at a time.

What a thing is, is the source's to say: a person, an animal, a tool. Boxes are x, y, width, height in pixels; a key
point is x, y and how it is marked: 0 not at all, 1 where it can't be seen, 2 where it can.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.data.contents import hash_bytes
from moganet.data.skeletons import Skeleton
from moganet.data.source import Dataset, FileSplit
from moganet.data.targets import Targets
from moganet.numbers import count

Item = dict[str, Tensor]


@dataclass(frozen=True)
class People:
    """What is marked in some images (M) by key points (K): all things (N), image after image.

    starts (M + 1): where those of each image begin. images (M): a number for each, no other image of the set has it.
    ids (M): those that the file gives them.
    boxes (N, 4). points (N, K, 3). areas (N): in pixels, as OKS has them. crowds (N): marks of many at once, which are
    neither learned nor counted.
    """

    skeleton: Skeleton
    starts: NDArray[np.int64]
    images: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    points: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowds: NDArray[np.bool_]

    @cached_property
    def is_marked(self) -> NDArray[np.bool_]:
        """Tell of which things (N,) a key point is marked, of one alone."""
        return np.asarray((self.points[..., 2] > 0).any(1) & ~self.crowds)

    def of(self, image: int) -> slice:
        """Give the things of an image, by its place."""
        return slice(int(self.starts[image]), int(self.starts[image + 1]))

    def joined(self, others: Sequence["People"]) -> "People":
        """Give these and the others as one."""
        every = (self, *others)
        offsets = np.cumsum([0, *(len(one.boxes) for one in every)])
        starts = [one.starts[:-1] + offset for one, offset in zip(every, offsets, strict=False)]
        parts: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in every]) for name in _ARRAYS}
        return replace(self, starts=np.append(np.concatenate(starts), offsets[-1]), **parts)


_ARRAYS = ("images", "ids", *(_OF_THINGS := ("boxes", "points", "areas", "crowds")))


@dataclass(frozen=True)
class PeopleTargets(Targets):
    """All that is marked in each of some images; places: which images of `people` these are."""

    people: People
    places: NDArray[np.int64]
    have_places: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        people, own = self.people, self.people.of(int(self.places[index]))
        found = {name: torch.from_numpy(getattr(people, name)[own]) for name in _OF_THINGS}
        return {**found, "image": torch.tensor(int(people.images[self.places[index]]))}

    def subset(self, indices: Sequence[int]) -> Self:
        return replace(self, places=self.places[np.asarray(indices, int)])

    def joined(self, others: Sequence[Self]) -> Self:
        if all(other.people is self.people for other in others):
            return replace(self, places=np.concatenate([self.places, *(other.places for other in others)]))
        offsets = np.cumsum([0, *(len(one.people.images) for one in (self, *others))])
        every = zip((self, *others), offsets, strict=False)
        people = self.people.joined([other.people for other in others])
        return replace(self, people=people, places=np.concatenate([one.places + offset for one, offset in every]))

    def mapped(self, order: Sequence[int], number: int) -> Self:
        points = np.zeros((len(self.people.points), number, 3))
        known = [(own, place) for own, place in enumerate(order) if place >= 0]
        points[:, [place for _, place in known]] = self.people.points[:, [own for own, _ in known]]
        return replace(self, people=replace(self.people, points=points))

    def stack(self, targets: Sequence[Item]) -> list[Item]:
        return list(targets)

    def strata(self) -> NDArray[np.int64]:
        """Tell which key points (N, K) are marked in each image."""
        marked, people = np.zeros((len(self), self.people.points.shape[1]), np.int64), self.people
        for row, place in enumerate(self.places.tolist()):
            own = people.of(place)
            marked[row] = (people.points[own][people.is_marked[own], :, 2] > 0).any(0)
        return marked

    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.strata().any(1))

    def key_points(self) -> NDArray[np.int64]:
        return np.asarray(self.strata().sum(0))

    @property
    def image_ids(self) -> list[int]:
        """Give the ids of the images in the file of annotations."""
        return [int(number) for number in self.people.ids[self.places]]

    def boxes(self, index: int) -> NDArray[np.float64]:
        own, people = self.people.of(int(self.places[index])), self.people
        boxes = people.boxes[own][people.is_marked[own]]
        return np.column_stack([boxes, np.ones(len(boxes))])

    def identity(self) -> bytes:
        return b"".join(self._hash(index) for index in range(len(self)))

    def _hash(self, index: int) -> bytes:
        own = self.people.of(int(self.places[index]))
        return hash_bytes(b"".join(getattr(self.people, name)[own].tobytes() for name in _OF_THINGS))

    def text(self, index: int, class_names: Sequence[str]) -> str:
        own = self.people.of(int(self.places[index]))
        things, points = int(self.people.is_marked[own].sum()), int((self.people.points[own][..., 2] > 0).sum())
        return f"{count(things, 'pose')}, {count(points, 'key point')} (marks {self._hash(index).hex()[:6]})"


@dataclass(frozen=True)
class PersonTargets(PeopleTargets):
    """One thing an item. things: which of `people` these are, in the images at `places`."""

    things: NDArray[np.int64]

    def __getitem__(self, index: int) -> Item:
        people, thing, skeleton = self.people, int(self.things[index]), self.people.skeleton
        place = int(self.places[index])
        return {
            "box": torch.from_numpy(people.boxes[thing]),
            "points": torch.from_numpy(people.points[thing]),
            "area": torch.tensor(people.areas[thing]),
            "image": torch.tensor(int(people.images[place])),
            "thing": torch.tensor(thing - int(people.starts[place])),
            "mirrored": torch.tensor(skeleton.mirrored),
            "lower": torch.tensor(skeleton.lower),
        }

    def subset(self, indices: Sequence[int]) -> Self:
        chosen = np.asarray(indices, int)
        return replace(self, places=self.places[chosen], things=self.things[chosen])

    def joined(self, others: Sequence[Self]) -> Self:
        raise NotImplementedError("images are joined before they are taken apart")

    def stack(self, targets: Sequence[Item]) -> Any:
        """Give each value of all as one tensor; nothing for none."""
        return {key: torch.stack([one[key] for one in targets]) for key in targets[0]} if targets else {}

    def strata(self) -> NDArray[np.int64]:
        return (self.people.points[self.things, :, 2] > 0).astype(np.int64)


def apart(dataset: Dataset) -> Dataset:
    """Give a set of images of which each item is one of the things in them that can be learned."""
    made = {id(split): _apart(split) for split in dataset.splits.values()}
    return replace(dataset, splits={name: made[id(split)] for name, split in dataset.splits.items()})


def _apart(split: Any) -> FileSplit:
    targets = split.targets
    assert isinstance(targets, PeopleTargets) and isinstance(split, FileSplit)
    people, places, things = targets.people, list[int](), list[int]()
    rows = list[int]()
    for row, place in enumerate(targets.places.tolist()):
        own = people.of(place)
        found = (own.start + np.flatnonzero(people.is_marked[own])).tolist()
        things += found
        places += [place] * len(found)
        rows += [row] * len(found)
    parts = PersonTargets(people, np.array(places, np.int64), np.array(things, np.int64))
    return replace(split, files=[split.files[row] for row in rows], targets=parts, groups=None)
