"""A map of a data set's images, on which what is alike lies together, as a section of the report."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moganet.numbers import count
from moganet.report.page import Section, make_sheet

ROOM = "moganet.report"  # which holds the templates
SHEET_BYTES = 600_000  # of base64
COLOURS = 10  # of classes, after which they come again
RADII = ((300, 12), (1000, 8), (10_000, 6))  # of points by their number, of a map 1,000 wide
WIDTH, HEIGHT, EDGE = 1000, 720, 20


@dataclass(frozen=True)
class MapPoint:
    """An image: what is said of it, its classes, and the points whose features are nearest."""

    caption: str
    classes: tuple[int, ...]
    near: tuple[int, ...]


@dataclass(frozen=True)
class Map:
    """N points with their pictures uint8 (side, side, 3), and where they lie, in 0..1 (N, 2), by each layout's name.

    copies: pairs of points with one picture. twice: how many of these have two labels. lonely: points that stand alone.
    notes: what is to be known of the layouts and of images that are not shown.
    """

    points: Sequence[MapPoint]
    pictures: Sequence[NDArray[np.uint8]]
    layouts: Mapping[str, NDArray[np.float64]]
    class_names: Sequence[str]
    copies: Sequence[tuple[int, int]] = ()
    lonely: Sequence[int] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def twice(self) -> int:
        return sum(self.points[first].classes != self.points[second].classes for first, second in self.copies)


def map_section(drawn: Map, max_listed: int) -> Section:
    """Show the map, its near copies and its lonely images, so many of each at most."""
    places = {name: _placed(where) for name, where in drawn.layouts.items()}
    first = next(iter(places.values()))
    radius = next(radius for number, radius in RADII if len(drawn.points) < number)
    dots = [(x, y, _colour(point)) for (x, y), point in zip(first, drawn.points, strict=True)]
    content = {
        "sheet": make_sheet(drawn.pictures, SHEET_BYTES),
        "dots": dots,
        "radius": radius,
        "size": (WIDTH, HEIGHT),
        "layouts": [*places],
        "legend": _legend(drawn),
        "class_names": drawn.class_names,
        "notes": drawn.notes,
        "copies": [(pair, [drawn.points[i].caption for i in pair]) for pair in drawn.copies[:max_listed]],
        "lonely": [(i, drawn.points[i].caption) for i in drawn.lonely[:max_listed]],
        "more": [max(0, len(some) - max_listed) for some in (drawn.copies, drawn.lonely)],
        "points": {
            "places": [list(itertools.chain.from_iterable(where)) for where in places.values()],
            "captions": [point.caption for point in drawn.points],
            "classes": [point.classes for point in drawn.points],
            "near": [point.near for point in drawn.points],
        },
    }
    return Section("Map", say_map(drawn), f"{ROOM}/map.html", content, f"{ROOM}/map.css", f"{ROOM}/map.js")


def say_map(drawn: Map) -> str:
    """Say how many images have a near-copy among those shown, and how many stand alone."""
    copies = f"{count(len(drawn.copies), 'pair')} of near-copies" if drawn.copies else "no near-copies"
    if drawn.twice:
        copies += f", {drawn.twice:,} with two labels"
    lonely = count(len(drawn.lonely), "image")
    alone = (
        f"{lonely} that stand{'s' if len(drawn.lonely) == 1 else ''} alone"
        if drawn.lonely
        else "none that stands alone"
    )
    return f"{count(len(drawn.points), 'image')} as the network sees them: {copies}, {alone}"


def _placed(where: NDArray[np.float64]) -> list[tuple[int, int]]:
    x = EDGE + where[:, 0] * (WIDTH - 2 * EDGE)
    y = EDGE + (1 - where[:, 1]) * (HEIGHT - 2 * EDGE)
    return list(zip(x.round().astype(int).tolist(), y.round().astype(int).tolist(), strict=True))


def _colour(point: MapPoint) -> str:
    """Give the style of a point: of its only class, or that of several or none."""
    return f"c{point.classes[0] % COLOURS}" if len(point.classes) == 1 else "cn"


def _legend(drawn: Map) -> list[tuple[str, str]]:
    """Name the colours where each is of one class."""
    if len(drawn.class_names) > COLOURS:
        return []
    used = {_colour(point) for point in drawn.points}
    named = [(f"c{i}", name) for i, name in enumerate(drawn.class_names) if f"c{i}" in used]
    return [*named, ("cn", "several or none")] if "cn" in used else named
