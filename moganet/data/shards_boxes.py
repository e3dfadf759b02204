"""Boxes and outlines in shards: in the index as they are, so that a set keeps its identity; `.json` beside an image."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, JsonValue, TypeAdapter

from moganet.data.boxes_targets import BoxTargets, Marks
from moganet.data.outlines import Outline
from moganet.data.shards_kind import Told, Written, check_range
from moganet.data.targets import Targets
from moganet.results import Record

Finite = Annotated[float, Field(allow_inf_nan=False)]
Box = tuple[Finite, Finite, Finite, Finite]


class _Shape(Record):
    """An outline: polygons of x, y, x, y, …; or runs over an image of a size (width, height)."""

    polygons: tuple[tuple[Finite, ...], ...] = ()
    runs: tuple[int, ...] | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, outline: Outline) -> "_Shape":
        if outline.runs is not None:
            return cls(runs=tuple(outline.runs.tolist()), size=outline.size)
        return cls(polygons=tuple(tuple(polygon.ravel().tolist()) for polygon in outline.polygons))

    def outline(self) -> Outline:
        if self.runs is not None:
            return Outline(runs=np.array(self.runs, np.int64), size=self.size)
        return Outline(tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in self.polygons))


class _Marked(Record):
    """What is marked in an image, in lists of one length; image, numbers: as the set's own files have them."""

    image: int
    size: tuple[int, int]  # width, height
    boxes: tuple[Box, ...]  # left, top, right, bottom
    labels: tuple[int, ...]
    crowd: tuple[bool, ...]
    areas: tuple[Finite, ...]
    numbers: tuple[int, ...]
    outlines: tuple[_Shape, ...] | None = None

    def check(self) -> None:
        """Raise ValueError where the lists differ in length."""
        if len({len(one) for one in self.lists()}) > 1:
            raise ValueError("its lists of what is marked differ in length")

    def lists(self) -> list[tuple[Any, ...]]:
        every = [self.boxes, self.labels, self.crowd, self.areas, self.numbers]
        return every if self.outlines is None else [*every, self.outlines]


class Boxes:
    """What is marked in each image."""

    of: type[Targets] = BoxTargets

    def shared(self, targets: Targets) -> dict[str, JsonValue]:
        assert isinstance(targets, BoxTargets)
        return {"category_ids": list(targets.category_ids)}

    def write(self, targets: Targets, index: int, class_names: Sequence[str]) -> Written:
        assert isinstance(targets, BoxTargets)
        marked = _marked(targets, index)
        plain: dict[str, JsonValue] = json.loads(marked.model_dump_json(exclude_unset=True))
        named = {**plain, "labels": [class_names[label] for label in marked.labels]}
        return Written("json", json.dumps(named).encode(), lambda start: plain)

    def read(self, told: Told) -> Targets:
        every = TypeAdapter(list[_Marked]).validate_json(json.dumps(list(told.values)))
        for one in every:
            one.check()
        check_range([label for one in every for label in one.labels], told)
        ids = TypeAdapter(tuple[int, ...]).validate_python(told.shared.get("category_ids", ()))
        return BoxTargets(_marks(every), np.arange(len(every)), len(told.class_names), ids)


def _marked(targets: BoxTargets, index: int) -> _Marked:
    marks, place = targets.marks, int(targets.places[index])
    rows, labels = targets.kept(index)
    more = {}
    if marks.outlines is not None:
        more["outlines"] = tuple(_Shape.of(marks.outlines[row]) for row in rows.tolist())
    return _Marked(
        image=int(marks.images[place]),
        size=(int(marks.sizes[place, 0]), int(marks.sizes[place, 1])),
        boxes=tuple(map(tuple, marks.boxes[rows].tolist())),
        labels=tuple(labels.tolist()),
        crowd=tuple(marks.crowd[rows].tolist()),
        areas=tuple(marks.areas[rows].tolist()),
        numbers=tuple(marks.numbers[rows].tolist()),
        **more,
    )


def _marks(every: Sequence[_Marked]) -> Marks:
    have_outlines = bool(every) and all(one.outlines is not None for one in every)
    return Marks(
        np.cumsum([0, *(len(one.labels) for one in every)], dtype=np.int64),
        np.array([box for one in every for box in one.boxes], np.float64).reshape(-1, 4),
        np.array([label for one in every for label in one.labels], np.int64),
        np.array([crowd for one in every for crowd in one.crowd], np.bool_),
        np.array([area for one in every for area in one.areas], np.float64),
        np.array([number for one in every for number in one.numbers], np.int64),
        np.array([one.size for one in every], np.int64).reshape(-1, 2),
        np.array([one.image for one in every], np.int64),
        tuple(shape.outline() for one in every for shape in one.outlines or ()) if have_outlines else None,
    )
