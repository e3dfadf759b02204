"""What a probe finds: how well fixed features tell a data set's classes apart, beside what knowing nothing gives."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.learn import NEIGHBOURS, PENALTIES, USUAL, Known, fit_linear, vote
from moganet.embeddings.rows import Features
from moganet.embeddings.search import Values
from moganet.results import Record

# From scores (M, classes) of some images and what they have (M, classes) to the figure that counts.
Figure = Callable[[Values, NDArray[np.uint8]], float]


class Measured(Record):
    """A figure, and its interval of 95 %."""

    value: float
    interval: tuple[float, float]


class ProbedClass(Record):
    """A class: its images among those measured, and what the linear probe and the votes find of them, None without."""

    name: str
    images: int
    linear: float | None
    nearest: float | None


class Probed(Record):
    """What a probe finds. metric: which figure, of_class: which figure of a class, both in words.

    linear: logistic regression on the features; nearest: votes of the num_nearest nearest training images. chance: what
    answers drawn at random give; majority: what the commonest answer gives. penalty: scikit-learn's C. chosen: whether
    num_nearest and penalty were chosen on training images held back, or are the usual ones. learnable: whether either
    figure lies beyond both baselines by more than luck gives.
    """

    metric: str
    of_class: str
    linear: Measured
    nearest: Measured
    chance: float
    majority: float
    num_nearest: int
    penalty: float
    chosen: bool
    learnable: bool
    per_class: tuple[ProbedClass, ...]


def scores_of(
    known: Known, asked: Features, inner: NDArray[np.int64] | None, figure: Figure
) -> tuple[Values, Values, tuple[int, float]]:
    """Give scores by the linear probe and by votes (M, classes), with how many voted, and the penalty.

    inner: places of training images that are held back to choose both by; None takes the usual.
    """
    number, penalty = USUAL
    if inner is not None:
        rest, held = known.part(np.setdiff1d(np.arange(len(known.rows)), inner)), known.part(inner)
        number = max(NEIGHBOURS, key=lambda k: figure(vote(rest, held.features, k), held.rows))
        penalty = max(PENALTIES, key=lambda c: figure(fit_linear(rest, held.features, c), held.rows))
    number = min(number, len(known.rows))
    return fit_linear(known, asked, penalty), vote(known, asked, number), (number, penalty)
