"""Outlines of things: polygons, or runs of pixels (COCO's RLE), and the masks that they mean, pixel for pixel COCO's.

COCO's own rule for a polygon (`rleFrPoly` of its maskApi.c) is followed to the pixel, so that figures of masks are
those of COCO's evaluation: Pillow's polygons have up to a row of pixels more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.masks_read import of_runs

FINER = 5  # how much finer than pixels COCO draws a line
LEAST_POINTS = 3
Polygon = NDArray[np.float64]  # (points, 2), x and y
Mask = NDArray[np.uint8]  # (H, W) of 0 and 1
Size = tuple[int, int]  # width, height


@dataclass(frozen=True, eq=False, slots=True)
class Outline:
    """A thing's outline: polygons that together cover it, or `runs` over an image of a size (width, height)."""

    polygons: tuple[Polygon, ...] = ()
    runs: NDArray[np.int64] | None = None
    size: Size | None = None

    def mask(self, size: Size) -> Mask:
        """Draw it on an image of a size (width, height)."""
        if self.runs is not None:
            return (of_runs(self.runs.tolist(), self.size or size) > 0).astype(np.uint8)
        found = np.zeros((size[1], size[0]), np.uint8)
        for polygon in self.polygons:
            found |= drawn(polygon, size)
        return found

    def box(self) -> tuple[float, float, float, float] | None:
        """Give the box around it (left, top, right, bottom); None where it covers nothing."""
        if self.runs is None:
            points = np.concatenate(self.polygons)
            return (*map(float, points.min(0)), *map(float, points.max(0)))  # type: ignore[return-value]
        rows, columns = np.nonzero(self.mask(self.size or (0, 0)))
        if not len(rows):
            return None
        return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)

    def area(self) -> float:
        """Give its area in pixels, polygons that overlap counted twice."""
        if self.runs is not None:
            return float(self.runs[1::2].sum())
        return sum(
            abs(float(np.sum(p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1]))) / 2
            for p in self.polygons
        )

    def scaled(self, across: float, down: float) -> "Outline":
        """Give polygons for an image so many times as wide and high; runs are of one size."""
        assert self.runs is None
        return Outline(tuple(polygon * (across, down) for polygon in self.polygons))


def around(box: Sequence[float]) -> Outline:
    """Give the outline of a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    return Outline((np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64),))


def read_outline(plain: Any, size: Size | None) -> Outline:
    """Read what COCO calls a segmentation: lists of x, y, x, y, …, or runs, compressed or not.

    size: of the image, which runs must have. Raises ValueError that says what is wrong.
    """
    if isinstance(plain, dict):
        return _read_runs(plain, size)
    if not isinstance(plain, list) or not plain:
        raise ValueError(f"an outline that is {_kind(plain)}")
    polygons = plain if isinstance(plain[0], list) else [plain]
    return Outline(tuple(map(read_polygon, polygons)))


def read_polygon(plain: Any) -> Polygon:
    """Read x, y, x, y, … Raises ValueError for fewer than three points, and for what is no number."""
    if not isinstance(plain, list):
        raise ValueError(f"a polygon that is {_kind(plain)}")
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in plain):
        other = next(one for one in plain if isinstance(one, bool) or not isinstance(one, int | float))
        raise ValueError(f"a polygon with {str(other)[:20]!r}, which is no number")
    if len(plain) % 2:
        raise ValueError(f"a polygon of {len(plain)} numbers, which are no pairs")
    if len(plain) < 2 * LEAST_POINTS:
        raise ValueError(f"a polygon of {len(plain) // 2} points, which needs {LEAST_POINTS}")
    try:
        points = np.array(plain, np.float64).reshape(-1, 2)
    except (OverflowError, ValueError):
        raise ValueError("a polygon with a number beyond all images") from None
    if not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise ValueError("a polygon with a number that is not finite" + " or beyond all images")
    return points


def _read_runs(plain: dict[str, Any], size: Size | None) -> Outline:
    counts, said = plain.get("counts"), plain.get("size")
    if isinstance(counts, bytes):
        counts = counts.decode("latin1")
    if isinstance(counts, str):
        try:
            runs: Any = runs_of(counts)
        except (IndexError, OverflowError):
            raise ValueError("compressed runs (RLE) that are cut off") from None
    else:
        runs = counts
    whole = isinstance(runs, list) and all(type(one) is int and 0 <= one < 1 << 31 for one in runs)
    if not whole:
        raise ValueError("runs (RLE) that are no lengths")
    if not (isinstance(said, list) and len(said) == 2 and all(type(one) is int and one > 0 for one in said)):
        raise ValueError(f"runs (RLE) without their size, height and width, but {str(said)[:40]}")
    own = said[1], said[0]
    if size is not None and own != size:
        raise ValueError(f"runs (RLE) for {own[0]}x{own[1]} pixels, but the image has {size[0]}x{size[1]}")
    if sum(runs) != own[0] * own[1]:
        raise ValueError(f"runs (RLE) of {sum(runs):,} pixels for {own[0]}x{own[1]}")
    return Outline(runs=np.array(runs, np.int64), size=own)


def _kind(plain: Any) -> str:
    return "empty" if plain in ([], None, "") else f"{type(plain).__name__} ({str(plain)[:30]})"


def drawn(polygon: Polygon, size: Size) -> Mask:
    """Give the pixels (H, W) of 0 and 1 that a polygon covers by COCO's rule.

    Its edges are walked in fifths of pixels; where a step crosses the middle of a column of pixels, this and all later
    pixels of the column turn over.
    """
    width, height = size
    corners = np.trunc(polygon * FINER + 0.5).astype(np.int64)
    across, down = _walked(corners, np.roll(corners, -1, 0))
    turns = np.flatnonzero(across[1:] != across[:-1])
    first, second = across[turns], across[turns + 1]
    columns = (np.where(second < first, second, second - 1) + 0.5) / FINER - 0.5
    rows = (np.minimum(down[turns], down[turns + 1]) + 0.5) / FINER - 0.5
    kept = (np.floor(columns) == columns) & (columns >= 0) & (columns <= width - 1)
    mask = np.zeros((size[1], size[0]), np.uint8)
    if not kept.any():
        return mask
    columns = columns[kept].astype(np.int64)
    begin, end = int(columns.min()), int(columns.max()) + 1  # a closed line turns the last of them back
    places = (columns - begin) * height + np.ceil(rows[kept].clip(0, height)).astype(np.int64)
    turned = np.bincount(places, minlength=(end - begin) * height + 1)[:-1].astype(np.uint8)
    flat = np.bitwise_xor.accumulate(turned & 1)
    mask[:, begin:end] = flat.reshape(end - begin, height).T
    return mask


def _walked(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give x and y of each step along edges, one a unit of an edge's longer side."""
    lengths = np.abs(ends - starts)
    flat = lengths[:, 0] >= lengths[:, 1]
    rows, axis = np.arange(len(starts)), np.where(flat, 0, 1)
    back = starts[rows, axis] > ends[rows, axis]
    low, high = np.where(back[:, None], ends, starts), np.where(back[:, None], starts, ends)
    longest = lengths.max(1)
    slopes = (high - low)[rows, 1 - axis] / np.maximum(1, longest)
    edge = np.repeat(rows, longest + 1)
    done = np.arange(len(edge)) - np.repeat(np.cumsum(longest + 1) - longest - 1, longest + 1)
    steps = np.where(back[edge], longest[edge] - done, done)
    along = steps + low[rows, axis][edge]
    other = np.trunc(low[rows, 1 - axis][edge] + slopes[edge] * steps + 0.5).astype(np.int64)
    return np.where(flat[edge], along, other), np.where(flat[edge], other, along)


def runs_of_mask(mask: NDArray[Any]) -> list[int]:
    """Give COCO's runs of a mask (H, W): how many pixels lie outside, inside, outside, …, column by column."""
    flat = mask.ravel(order="F") != 0
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = [0, *changes.tolist(), flat.size] if flat.size and not flat[0] else [0, 0, *changes.tolist(), flat.size]
    found: list[int] = np.diff(ends).tolist()
    return found


def compressed(runs: Sequence[int]) -> str:
    """Write COCO's compressed runs: 6 bits a letter, from the lowest on, each run after the third as a difference."""
    letters: list[str] = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            letters.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(letters)


def runs_of(text: str) -> list[int]:
    """Read COCO's compressed runs, as `compressed` writes them."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            bits = ord(text[place]) - 48
            value |= (bits & 0x1F) << shift
            more, place, shift = bool(bits & 0x20), place + 1, shift + 5
        if bits & 0x10:
            value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
