"""Which images are answered right, and what that says of two models or of several trainings: tests and intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtrit

from moganet.numbers import Z95


@dataclass(frozen=True)
class Judged:
    """What answers are worth. right: (N,), whether all of an image's answer is right.

    figure: what the task's best weights are chosen by, None where it can't be told. interval: of 95 %.
    """

    right: NDArray[np.bool_]
    figure: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """What images that two models answered say of both.

    only_first, only_second: how many only one of them has right. p: of McNemar's exact test, that as many would differ
    so unevenly by chance. difference: the second's share of right images less the first's; interval: of 95 %.
    """

    only_first: int
    only_second: int
    p: float
    difference: float
    interval: tuple[float, float]


def judge_pair(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare which of the same images (N,) two models have right.

    The test is the binomial one of the images on which they differ (McNemar 1947, exact); the interval is Bonett and
    Price's (2012) of paired shares, whose error is small for few images too.
    """
    b, c, number = int((first & ~second).sum()), int((second & ~first).sum()), len(first)
    p = min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0
    more, less = (c + 1) / (number + 2), (b + 1) / (number + 2)
    middle, half = more - less, Z95 * ((more + less - (more - less) ** 2) / (number + 2)) ** 0.5
    return Paired(b, c, p, (c - b) / number, (max(-1.0, middle - half), min(1.0, middle + half)))


def holm(values: Sequence[float]) -> list[float]:
    """Adjust the p of several tests, so that by chance one of all is below a bound as seldom as of one (Holm 1979)."""
    adjusted, highest = list(values), 0.0
    for rank, place in enumerate(np.argsort(values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Give the 95 % interval of a mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half
