"""How well fixed features tell classes apart, one an image: accuracy of votes and of a linear probe."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.learn import Known
from moganet.embeddings.search import Values
from moganet.numbers import wilson_interval
from moganet.tasks.probing import Measured, Probed, ProbedClass, scores_of


def probe(known: Known, asked: Known, names: Sequence[str], inner: NDArray[np.int64] | None) -> Probed:
    """Measure the share of images (M, classes) whose class is found by features of others (N, classes)."""
    linear, votes, (number, penalty) = scores_of(known, asked.features, inner, accuracy)
    truth, commonest = asked.rows.argmax(1), int(known.rows.sum(0).argmax())
    figures, chance = [_measured(scores, asked.rows) for scores in (linear, votes)], 1 / len(names)
    majority = float((truth == commonest).mean())
    return Probed(
        metric="top-1 accuracy",
        of_class="found",
        linear=figures[0],
        nearest=figures[1],
        chance=chance,
        majority=majority,
        num_nearest=number,
        penalty=penalty,
        chosen=inner is not None,
        learnable=any(one.interval[0] > max(chance, majority) for one in figures),
        per_class=tuple(_of_class(name, truth == i, i, linear, votes) for i, name in enumerate(names)),
    )


def accuracy(scores: Values, rows: NDArray[np.uint8]) -> float:
    """Give the share of images whose class has the highest score."""
    return float((scores.argmax(1) == rows.argmax(1)).mean())


def _measured(scores: Values, rows: NDArray[np.uint8]) -> Measured:
    value = accuracy(scores, rows)
    return Measured(value=value, interval=wilson_interval(value, len(rows)))


def _of_class(name: str, has: NDArray[np.bool_], index: int, linear: Values, votes: Values) -> ProbedClass:
    found = [float((scores[has].argmax(1) == index).mean()) if has.any() else None for scores in (linear, votes)]
    return ProbedClass(name=name, images=int(has.sum()), linear=found[0], nearest=found[1])
