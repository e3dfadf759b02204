"""Key points in shards: in the index as they are, so that a set keeps its identity; `.json` beside an image."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue, TypeAdapter

from moganet.data.people_targets import People, PeopleTargets
from moganet.data.shards_kind import Told, Written
from moganet.data.skeletons import Skeleton
from moganet.data.targets import Targets
from moganet.results import Record

Finite = Annotated[float, Field(allow_inf_nan=False)]
Mark = Literal[0, 1, 2]


class _Marked(Record):
    """What is marked in an image, in lists of one length; image, number: as the set has them, and its file.

    points: of each thing x, y and how it is marked, of each key point.
    """

    image: int
    number: int
    boxes: tuple[tuple[Finite, Finite, Finite, Finite], ...]  # x, y, width, height
    points: tuple[tuple[tuple[Finite, Finite, Mark], ...], ...]
    areas: tuple[Finite, ...]
    crowds: tuple[bool, ...]

    def check(self, names: Sequence[str]) -> None:
        """Raise ValueError where the lists differ in length, or a thing has other key points than the set."""
        if len({len(one) for one in (self.boxes, self.points, self.areas, self.crowds)}) > 1:
            raise ValueError("its lists of what is marked differ in length")
        if any(len(points) != len(names) for points in self.points):
            raise ValueError(f"it names {len(names)} key points, and marks another number")


class _Bones(Record):
    """What the set knows of its key points beside their names."""

    lines: tuple[tuple[int, int], ...]
    mirrored: tuple[int, ...]
    sigmas: tuple[Annotated[float, Field(gt=0)], ...]

    def skeleton(self, names: tuple[str, ...]) -> Skeleton:
        """Make the skeleton. Raises ValueError where it is not of these names."""
        number = len(names)
        if sorted(self.mirrored) != list(range(number)) or len(self.sigmas) != number:
            raise ValueError(f"what it says of key points is not of the {number} that it names")
        if any(not 0 <= place < number for line in self.lines for place in line):
            raise ValueError(f"a line ends at a key point beyond the {number}")
        return Skeleton(names, self.lines, self.mirrored, self.sigmas)


class KeyPoints:
    """What is marked in each image."""

    of: type[Targets] = PeopleTargets

    def shared(self, targets: Targets) -> dict[str, JsonValue]:
        assert isinstance(targets, PeopleTargets)
        own = targets.marks.skeleton
        bones = _Bones(lines=own.lines, mirrored=own.mirrored, sigmas=own.sigmas)
        return {"skeleton": bones.model_dump(mode="json")}

    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written:
        assert isinstance(targets, PeopleTargets)
        plain: dict[str, JsonValue] = _marked(targets, index).model_dump(mode="json")
        named = {**plain, "key_points": list(class_names)}
        return Written("json", json.dumps(named).encode(), lambda start: plain)

    def read(self, told: Told) -> Targets:
        every = TypeAdapter(list[_Marked]).validate_json(json.dumps(list(told.values)))
        for one in every:
            one.check(told.class_names)
        bones = TypeAdapter(_Bones).validate_json(json.dumps(told.shared.get("skeleton")))
        return PeopleTargets(_people(every, bones.skeleton(told.class_names)), np.arange(len(every)))


def _marked(targets: PeopleTargets, index: int) -> _Marked:
    people, place = targets.marks, int(targets.places[index])
    own = people.rows(place)
    parts: dict[str, Any] = {name: getattr(people, name)[own].tolist() for name in ("boxes", "areas", "crowds")}
    points = [[(x, y, int(mark)) for x, y, mark in thing] for thing in people.points[own].tolist()]
    return _Marked(image=int(people.images[place]), number=int(people.ids[place]), points=points, **parts)


def _people(every: Sequence[_Marked], skeleton: Skeleton) -> People:
    return People(
        np.cumsum([0, *(len(one.boxes) for one in every)], dtype=np.int64),
        skeleton,
        np.array([one.image for one in every], np.int64),
        np.array([one.number for one in every], np.int64),
        np.array([box for one in every for box in one.boxes], np.float64).reshape(-1, 4),
        np.array([thing for one in every for thing in one.points], np.float64).reshape(-1, len(skeleton.names), 3),
        np.array([area for one in every for area in one.areas], np.float64),
        np.array([crowd for one in every for crowd in one.crowds], np.bool_),
    )
