"""What a multi-label network answers: the classes above their thresholds, or the likeliest; without torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.display import bars
from moganet.tasks.multilabel.description import MultilabelDescription
from moganet.tasks.records import UNLIKE, NamedRow
from moganet.tasks.task import Array

COLUMNS = ("file", "truth", "rank", "name", "probability", "rejected")
NONE = "(none)"


@dataclass(frozen=True)
class Found:
    """Classes of an image, the likeliest first: names, and the probability of each by itself. They may be none.

    above: the names of those that are above their thresholds, however many were asked for. rejected: whether the image
    is unlike those that the model was trained on; None where it can't be told.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    above: tuple[str, ...]
    rejected: bool | None = None

    def _repr_html_(self) -> str:
        return (bars(self.names, self.probabilities) if self.names else NONE) + UNLIKE * bool(self.rejected)


class MultilabelRow(NamedRow):
    """The classes that an image shows, the likeliest first. truth: the names of those that it has."""

    truth: tuple[str, ...] | None = None

    def text(self) -> str:
        """Say the classes in one line."""
        return " ".join([self.named() or NONE, *self.remarks()])

    def short(self) -> str:
        return self.named() or NONE

    def truth_text(self) -> str | None:
        return None if self.truth is None else ", ".join(self.truth) or NONE

    def cells(self) -> Iterable[Sequence[object]]:
        """Give a line a class, and one for an image without any."""
        truth = "|".join(self.truth or ())
        for rank, one in enumerate(self.classes, 1):
            yield self.file, truth, rank, one.name, f"{one.probability:.6f}", self.rejected_cell()
        if not self.classes:
            yield self.file, truth, "", "", "", self.rejected_cell()


def sigmoid(logits: Array) -> NDArray[np.float64]:
    """Turn logits into probabilities, each by itself."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def found(logits: Array, description: MultilabelDescription) -> NDArray[np.bool_]:
    """Tell which classes are above their thresholds (B, classes)."""
    return np.asarray(sigmoid(logits) >= np.array(description.cuts))


def energy(logits: Array) -> NDArray[np.float64]:
    """Give the joint energy (N,) of logits (N, classes): the higher, the fewer classes are told (Wang et al. 2021)."""
    return np.asarray(-np.logaddexp(0.0, logits.astype(np.float64)).sum(1))


def answers(logits: Array, probabilities: Array, description: MultilabelDescription, top_k: int | None) -> list[Found]:
    """Name the classes above their thresholds, or the `top_k` likeliest, of each row."""
    names = np.array(description.class_names, object)
    order, above = np.argsort(-logits, axis=1, kind="stable"), found(logits, description)
    given = []
    for columns, row, is_above in zip(order, probabilities, above, strict=True):
        over = columns[is_above[columns]]
        places = over if top_k is None else columns[:top_k]
        given.append(Found(tuple(names[places]), tuple(row[places].tolist()), tuple(names[over])))
    return given
