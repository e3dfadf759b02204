"""Which images are nearest by the cosine of their features: exact, over as many as there are, a part at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.rows import Features, Rows

Values = NDArray[np.float64]
PART = 1024  # queries at a time


@dataclass(frozen=True)
class Near:
    """An image near another: how many rows stand before it, its name, its contents' hash, its label, the cosine."""

    place: int
    file: str
    content: str
    label: str | None
    similarity: float


class Nearest:
    """The `number` nearest to each of Q queries (Q, D) of all rows that come."""

    def __init__(self, queries: Features, number: int) -> None:
        self.queries, self.number = unit(queries), number
        self.found: list[list[Near]] = [[] for _ in queries]
        self.seen = 0

    def add(self, rows: Rows, leave_out: NDArray[np.bool_] | None = None) -> None:
        """Compare with more rows. leave_out: (Q, n), those that don't count for a query."""
        cosines = np.clip(self.queries @ unit(rows.features).T, -1, 1)
        if leave_out is not None:
            cosines[leave_out] = -np.inf
        number = min(self.number, cosines.shape[1])
        best = np.argpartition(-cosines, number - 1, axis=1)[:, :number]
        for query, places in enumerate(best):
            fresh = [
                Near(self.seen + int(i), rows.files[i], rows.contents[i], rows.labels[i], float(cosines[query, i]))
                for i in places
                if cosines[query, i] > -np.inf
            ]
            both = sorted([*self.found[query], *fresh], key=lambda near: (-near.similarity, near.place))
            self.found[query] = both[: self.number]
        self.seen += len(rows)


def unit(features: Features) -> Values:
    """Bring features (n, D) to length 1; those of length 0 stay, and are like nothing."""
    wide = features.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(1, keepdims=True))
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))


def nearest_of(queries: Features, among: Features | None, number: int) -> tuple[NDArray[np.int64], Values]:
    """Give the places (n, k) of the k nearest to queries (n, D) among others (m, D), and their cosines.

    among: None compares the queries with each other, none with itself.
    """
    own = unit(queries)
    others, number = (own, min(number, len(own) - 1)) if among is None else (unit(among), min(number, len(among)))
    places, cosines = np.empty((len(own), number), np.int64), np.empty((len(own), number))
    for start in range(0, len(own), PART):
        near = np.clip(own[start : start + PART] @ others.T, -1, 1)
        part = slice(start, start + len(near))
        if among is None:
            near[np.arange(len(near)), np.arange(part.start, part.stop)] = -np.inf
        some = np.argpartition(-near, number - 1, axis=1)[:, :number] if number else np.empty((len(near), 0), int)
        order = np.argsort(-np.take_along_axis(near, some, 1), axis=1, kind="stable")
        places[part] = np.take_along_axis(some, order, 1)
        cosines[part] = np.take_along_axis(near, places[part], 1)
    return places, cosines
