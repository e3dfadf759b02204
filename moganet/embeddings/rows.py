"""Features of images, by what they were made, and whether two of them can be compared."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.config import Architecture, Preprocessing, Settings

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Features (n, D) of n images, their names, hashes of their contents, and their labels where they are known."""

    files: tuple[str, ...]
    contents: tuple[str, ...]
    labels: tuple[str | None, ...]
    features: Features

    def __len__(self) -> int:
        return len(self.files)

    def chosen(self, places: Iterable[int]) -> "Rows":
        """Give some of the rows."""
        some = list(places)
        files, contents = (tuple(values[i] for i in some) for values in (self.files, self.contents))
        return Rows(files, contents, tuple(self.labels[i] for i in some), self.features[some])


class MadeWith(Settings):
    """By what features were made. model: its name; sha256: of its tensors. data, split: the set that images are of."""

    model: str
    sha256: str
    architecture: Architecture
    preprocessing: Preprocessing
    precision: str
    fast_decoding: bool = False
    runtime: str = ""
    untrained: bool = False
    moganet: str = ""
    data: str | None = None
    split: str | None = None

    def differs(self, other: "MadeWith") -> str | None:
        """Say in what features of another making can't be compared to these; None where they can."""
        if self.sha256 != other.sha256:
            return f"features of another model, {self.model} (tensors {self.sha256[:12]}), not {other.sha256[:12]}"
        if self.architecture != other.architecture:
            return f"features made with the network's {_differing(self.architecture, other.architecture)}"
        if self.preprocessing != other.preprocessing:
            return f"features made with the images' {_differing(self.preprocessing, other.preprocessing)}"
        if self.precision != other.precision:
            return f"features in {self.precision}, not {other.precision}"
        if self.fast_decoding != other.fast_decoding:
            return f"features of images read with{'' if self.fast_decoding else 'out'} fast decoding"
        return None

    def differs_in_images(self, other: "MadeWith") -> str | None:
        """Say whether these are features of another set's images, whose names may be the same."""
        if (self.data, self.split) == (other.data, other.split):
            return None
        own, asked = (f"{one.data} ({one.split})" if one.data else "files" for one in (self, other))
        return f"features of images of {own}, not of {asked}"


def _differing(own: Settings, other: Settings) -> str:
    """Name the first of the settings that differ."""
    theirs = dict(other)
    name, value = next((name, value) for name, value in own if value != theirs.get(name))
    return f"{name} {value}, not {theirs.get(name)}"


def regrouped(parts: Iterable[Rows], number: int) -> Iterator[Rows]:
    """Give the same rows, `number` or more at a time."""
    held: list[Rows] = []
    for part in parts:
        held += [part] if len(part) else []
        if sum(map(len, held)) >= number:
            yield joined(held)
            held = []
    if held:
        yield joined(held)


def joined(parts: list[Rows]) -> Rows:
    """Give the rows of several as one."""
    if len(parts) == 1:
        return parts[0]
    files, contents, labels = (
        tuple(one for part in parts for one in getattr(part, name)) for name in ("files", "contents", "labels")
    )
    return Rows(files, contents, labels, np.concatenate([part.features for part in parts]))
