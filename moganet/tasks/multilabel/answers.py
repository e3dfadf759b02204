"""What a multi-label network answers: the classes above their thresholds, or the likeliest; without torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.multilabel.description import MultilabelDescription
from moganet.tasks.task import Array, Named, Row

COLUMNS = ("file", "truth", "rank", "name", "probability")
NONE = "(none)"


@dataclass(frozen=True)
class Found:
    """Classes of an image, the likeliest first: names, and the probability of each by itself. They may be none."""

    names: tuple[str, ...]
    probabilities: tuple[float, ...]


class MultilabelRow(Row):
    """The classes that an image shows, the likeliest first. truth: the names of those that it has."""

    truth: tuple[str, ...] | None = None
    classes: tuple[Named, ...]

    def text(self) -> str:
        """Say the classes in one line."""
        named = ", ".join(f"{one.name} {100 * one.probability:.1f} %" for one in self.classes)
        return " ".join([named or NONE] + ["(untrained)"] * self.untrained)

    def cells(self) -> Iterable[Sequence[object]]:
        """Give a line a class, and one for an image without any."""
        truth = "|".join(self.truth or ())
        for rank, one in enumerate(self.classes, 1):
            yield self.file, truth, rank, one.name, f"{one.probability:.6f}"
        if not self.classes:
            yield self.file, truth, "", "", ""


def sigmoid(logits: Array) -> NDArray[np.float64]:
    """Turn logits into probabilities, each by itself."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def found(logits: Array, description: MultilabelDescription) -> NDArray[np.bool_]:
    """Tell which classes are above their thresholds (B, classes)."""
    return np.asarray(sigmoid(logits) >= np.array(description.cuts))


def answers(logits: Array, probabilities: Array, description: MultilabelDescription, top_k: int | None) -> list[Found]:
    """Name the classes above their thresholds, or the `top_k` likeliest, of each row."""
    number = len(description.class_names)
    order = np.argsort(-logits, axis=1, kind="stable")[:, : number if top_k is None else top_k]
    kept = np.ones_like(logits, bool) if top_k is not None else found(logits, description)
    return [
        Found(tuple(description.class_names[i] for i in places), tuple(float(row[i]) for i in places))
        for row, keep, columns in zip(probabilities, kept, order, strict=True)
        for places in [[int(i) for i in columns if keep[i]]]
    ]
