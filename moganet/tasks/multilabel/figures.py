"""Figures of logits (N, classes) against rows of 0 and 1 (N, classes): average precision, F1, thresholds, calibration.

Average precision is scikit-learn's: the sum over the distinct scores of precision times what recall gains, so that
equal scores count together. torchmetrics' agrees, but warns of classes that no image has.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.evaluator import CALIBRATION_BINS
from moganet.tasks.multilabel.answers import sigmoid
from moganet.tasks.multilabel.description import PLAIN

DRAWS = 200  # of a bootstrap
MIN_POSITIVES = 10  # images of a class, from which on a threshold is chosen for it
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Curve:
    """What each cut of a class's scores gives: the images at or above it, and how many of them have the class."""

    scores: Values
    taken: NDArray[np.int64]
    hits: NDArray[np.int64]


def curve(scores: Values, truth: NDArray[np.bool_]) -> Curve:
    """Cut scores (N,) at each of their distinct values, from the highest on."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))[: len(ordered)]
    return Curve(ordered[ends], ends + 1, truth[order].cumsum()[ends])


def average_precision(scores: Values, truth: NDArray[np.bool_]) -> float | None:
    """Give the average precision of scores (N,); None where nothing has the class."""
    if not truth.any():
        return None
    cuts = curve(scores, truth)
    gains = np.diff(cuts.hits, prepend=0) / truth.sum()
    return float((gains * cuts.hits / cuts.taken).sum())


def mean_average_precision(logits: Values, truth: NDArray[np.bool_]) -> float | None:
    """Give the mean over the classes that some image has; None where there is none."""
    found = [average_precision(scores, has) for scores, has in zip(logits.T, truth.T, strict=True)]
    return mean(found)


def precision_interval(logits: Values, truth: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Give the 95 % interval of the mean average precision, by drawing images anew (Efron's percentiles)."""
    return drawn_interval(lambda some: mean_average_precision(logits[some], truth[some]), len(logits), DRAWS)


def drawn_interval(
    figure: Callable[[NDArray[np.int64]], float | None], number: int, draws: int
) -> tuple[float, float] | None:
    """Give the 95 % interval of a figure of so many images, by drawing these anew, with the same draws each time.

    figure: from images' places (number,), some of them several times. None where it can't be told of any draw.
    """
    random = np.random.default_rng(0)
    places = (random.integers(number, size=number) for _ in range(draws))
    drawn = [one for some in places if (one := figure(some)) is not None]
    if not drawn:
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def mean(values: list[float | None]) -> float | None:
    """Give the mean of those that were measured."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def best_threshold(scores: Values, truth: NDArray[np.bool_]) -> float:
    """Give the probability of the best F1, of equals that next to 0.5; 0.5 where fewer than ten images have the class.

    It lies halfway, in logits, between the lowest score that is taken and the next.
    """
    if truth.sum() < MIN_POSITIVES:
        return PLAIN
    cuts = curve(scores.astype(np.float64), truth)
    f1 = 2 * cuts.hits / (truth.sum() + cuts.taken)
    below = np.append(cuts.scores[1:], cuts.scores[-1] - 1)
    middles = sigmoid((cuts.scores + below) / 2)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.abs(middles[best] - PLAIN).argmin()]])


def best_thresholds(logits: Values, truth: NDArray[np.bool_]) -> tuple[float, ...]:
    """Give a threshold for each class."""
    return tuple(best_threshold(scores, has) for scores, has in zip(logits.T, truth.T, strict=True))


def cross_entropy(logits: Values, truth: NDArray[np.bool_]) -> float:
    """Give the mean binary cross-entropy over images and classes."""
    wide = logits.astype(np.float64)
    return float((np.logaddexp(0.0, wide) - wide * truth).mean()) if wide.size else 0.0


def calibration_error(probabilities: Values, truth: NDArray[np.bool_]) -> float:
    """Give the expected error of each probability as the share of those that have the class, over all of them."""
    sure, right = probabilities.ravel(), truth.ravel()
    bins = np.minimum((sure * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=sure - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / max(sure.size, 1))
