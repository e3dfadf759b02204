"""Which value or colour of a mask stands for which class: found out of all masks of a set, or said."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from moganet.data.findings import FaultError
from moganet.data.masks_read import Raw, Values, as_colour, as_numbers

IGNORED = -1  # a pixel of no class: it is neither learned nor measured
UNKNOWN = -2
VOID = 255  # the usual value of such pixels in files
MOST_COLOURS = 4096  # of one mask; a photograph has more
Colour = tuple[int, int, int]
Labels = NDArray[np.int16]


@dataclass(frozen=True)
class Coding:
    """Values or, where `coloured`, colours as numbers, in order, and the class of each (IGNORED: of none).

    lenient: what is unknown is of no class.
    """

    values: tuple[int, ...]
    classes: tuple[int, ...]
    coloured: bool = False
    lenient: bool = False

    def __post_init__(self) -> None:
        assert list(self.values) == sorted(set(self.values))

    @classmethod
    def of(cls, classes: Mapping[int, int], *, coloured: bool = False, lenient: bool = False) -> Self:
        """Give the coding by the class of each value."""
        order = sorted(classes)
        return cls(tuple(order), tuple(classes[value] for value in order), coloured, lenient)

    def classes_of(self, values: Values) -> NDArray[np.int16]:
        """Give the class of each value, UNKNOWN among them."""
        known, classes = np.array(self.values, np.int64), np.array(self.classes, np.int16)
        places = np.searchsorted(known, values).clip(0, len(known) - 1)
        return np.where(known[places] == values, classes[places], np.int16(IGNORED if self.lenient else UNKNOWN))

    def labels(self, raw: Raw, name: str) -> Labels:
        """Give a mask's classes (H, W). Raises FaultError ("unknown", "colours") for what has no class."""
        if raw.coloured != self.coloured and raw.palette is None:
            kind = "colours" if raw.coloured else "numbers"
            raise FaultError("colours", f"{name} holds {kind}, unlike the other masks")
        if self.coloured:
            raw = painted(raw)
        if raw.values.dtype == np.uint8:
            labels = self.classes_of(np.arange(256))[raw.values]
        else:
            found, places = np.unique(raw.values, return_inverse=True)
            labels = self.classes_of(found)[places].reshape(raw.values.shape)
        if (labels == UNKNOWN).any():
            raise FaultError("unknown", f"{name} has {self.say(raw.values[labels == UNKNOWN])}, which is no class")
        return labels

    def say(self, values: Iterable[int]) -> str:
        """Name the values, or colours, once each."""
        every = sorted({int(value) for value in np.unique(np.fromiter(values, np.int64))})
        texts = [str(as_colour(value)) if self.coloured else str(value) for value in every[:5]]
        kind = "the colour" if self.coloured else "the value"
        return f"{kind}{'s' if len(every) > 1 else ''} {', '.join(texts)}{' and more' if len(every) > 5 else ''}"

    def mapped(self, order: Sequence[int]) -> Self:
        """Let class i be order[i], or none where that is -1."""
        return replace(self, classes=tuple(order[one] if one >= 0 else one for one in self.classes))


def painted(raw: Raw) -> Raw:
    """Give an indexed image in its palette's colours."""
    if raw.palette is None:
        return raw
    table = np.zeros((256, 3), np.uint8)
    table[: len(raw.palette)] = raw.palette[:256]
    return Raw(as_numbers(table)[raw.values], coloured=True)


@dataclass(frozen=True)
class Scanned:
    """What stands in one mask: how many pixels have each value (or colour), its size, and its palette's bytes."""

    counts: Mapping[int, int]
    size: tuple[int, int]
    coloured: bool
    palette: bytes | None

    @classmethod
    def of(cls, raw: Raw, name: str) -> Self:
        """Count a mask's values. Raises FaultError ("colours") for what looks like a photograph."""
        if raw.values.dtype == np.uint8:
            every = np.bincount(raw.values.ravel())
            values, counts = np.flatnonzero(every), every[every > 0]
        else:
            values, counts = np.unique(raw.values, return_counts=True)
        if raw.coloured and len(values) > MOST_COLOURS:
            what = f"{name} has {len(values):,} colours, as a photograph and no mask has"
            raise FaultError("colours", what)
        found = dict(zip(values.tolist(), counts.tolist(), strict=True))
        return cls(found, raw.size, raw.coloured, None if raw.palette is None else raw.palette.tobytes())

    def palette_colours(self) -> dict[int, int]:
        """Give an indexed image's colours, as numbers, by its numbers; none of another image."""
        return dict(enumerate(as_numbers(np.frombuffer(self.palette or b"", np.uint8).reshape(-1, 3)).tolist()))

    def in_colours(self) -> "Scanned":
        """Count an indexed image's colours in the place of its numbers."""
        if self.palette is None:
            return self
        table = self.palette_colours()
        counts: dict[int, int] = {}
        for value, number in self.counts.items():
            colour = table.get(value, 0)
            counts[colour] = counts.get(colour, 0) + number
        return replace(self, counts=counts, coloured=True)
