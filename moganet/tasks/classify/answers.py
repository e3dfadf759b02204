"""What a classifier answers: the likeliest classes of an image; without torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.display import bars
from moganet.numbers import percent
from moganet.tasks.classify.description import ClassifyDescription
from moganet.tasks.records import UNLIKE, NamedRow
from moganet.tasks.task import Array

USUAL = 5  # classes that are named
COLUMNS = ("file", "truth", "rank", "name", "probability", "rejected")


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of an image, the best first: names, and probabilities that sum to 1 over all classes.

    rejected: whether the image is unlike those that the model was trained on; None where it can't be told.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    rejected: bool | None = None

    def _repr_html_(self) -> str:
        return bars(self.names, self.probabilities) + UNLIKE * bool(self.rejected)


class ClassifyRow(NamedRow):
    """An image's classes, the likeliest first."""

    truth: str | None = None

    def short(self) -> str:
        return f"{self.classes[0].name} {percent(self.classes[0].probability)}"

    def text(self) -> str:
        return " ".join([self.named(), *self.remarks()])

    def cells(self) -> Iterable[Sequence[object]]:
        for rank, one in enumerate(self.classes, 1):
            yield self.file, self.truth or "", rank, one.name, f"{one.probability:.6f}", self.rejected_cell()


def softmax(logits: Array) -> NDArray[np.float32]:
    """Turn logits (B, classes) into probabilities that sum to 1."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def energy(logits: Array) -> NDArray[np.float64]:
    """Give the energy (N,) of logits (N, classes): the higher, the less an image is like what was trained on."""
    wide = logits.astype(np.float64)
    most = wide.max(1)
    return np.asarray(-(most + np.log(np.exp(wide - most[:, None]).sum(1))))


def unlike(logits: Array, description: ClassifyDescription) -> NDArray[np.bool_] | None:
    """Tell of each image (B,) whether its energy is above the threshold that is kept (Liu et al. 2020)."""
    reject = description.reject
    return None if reject is None else np.asarray(energy(logits) > reject.threshold)


def predictions(
    probabilities: Array, unknown: NDArray[np.bool_] | None, names: Sequence[str], top_k: int | None
) -> list[Prediction]:
    """Name the `top_k` likeliest classes [5] of each row. unknown: which images are unlike the training images."""
    number = min(USUAL if top_k is None else top_k, len(names))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :number]
    values = np.take_along_axis(probabilities, order, 1).tolist()
    rejected = [None] * len(values) if unknown is None else unknown.tolist()
    return [
        Prediction(tuple(names[i] for i in columns), tuple(row), reject)
        for row, columns, reject in zip(values, order.tolist(), rejected, strict=True)
    ]
