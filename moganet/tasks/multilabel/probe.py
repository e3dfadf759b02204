"""How well fixed features tell labels, any number an image: mean average precision of votes and of a linear probe."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.learn import Known
from moganet.embeddings.search import Values
from moganet.errors import DataError
from moganet.tasks.multilabel.figures import DRAWS, average_precision, drawn_interval, mean_average_precision
from moganet.tasks.probing import Measured, Probed, ProbedClass, scores_of

WORK = 40_000_000  # scores that are sorted for a bootstrap at most
FEWEST = 40  # draws


def probe(known: Known, asked: Known, names: Sequence[str], inner: NDArray[np.int64] | None) -> Probed:
    """Measure the mean average precision on images (M, classes) by features of others (N, classes).

    Scores drawn at random, and those of the commonest labels for all images, both give the mean share of the classes.
    """
    if not asked.rows.any():
        raise DataError("none of the images that are measured has a class; choose others by --split")
    linear, votes, (number, penalty) = scores_of(known, asked.features, inner, precision)
    share = float(asked.rows[:, asked.rows.any(0)].mean())
    figures = [_measured(scores, asked.rows) for scores in (linear, votes)]
    beyond = [
        one.interval[0] > share and one.value > _luck(scores, asked.rows)
        for one, scores in zip(figures, (linear, votes), strict=True)
    ]
    return Probed(
        metric="mean average precision",
        of_class="average precision",
        linear=figures[0],
        nearest=figures[1],
        chance=share,
        majority=share,
        num_nearest=number,
        penalty=penalty,
        chosen=inner is not None,
        learnable=any(beyond),
        per_class=tuple(
            ProbedClass(
                name=name,
                images=int(has.sum()),
                linear=average_precision(a, has > 0),
                nearest=average_precision(b, has > 0),
            )
            for name, has, a, b in zip(names, asked.rows.T, linear.T, votes.T, strict=True)
        ),
    )


def precision(scores: Values, rows: NDArray[np.uint8]) -> float:
    """Give the mean average precision, 0 where no image has a class."""
    return mean_average_precision(scores, rows > 0) or 0.0


def _measured(scores: Values, rows: NDArray[np.uint8]) -> Measured:
    """Give the figure with its bootstrap interval."""
    interval = drawn_interval(lambda some: precision(scores[some], rows[some]), len(rows), _draws(scores))
    assert interval is not None  # of a precision that is a number in any draw
    return Measured(value=precision(scores, rows), interval=interval)


def _luck(scores: Values, rows: NDArray[np.uint8]) -> float:
    """Give the figure that one of 40 permutations of the images' scores reaches: few images have much luck."""
    random = np.random.default_rng(1)
    drawn = [precision(scores[random.permutation(len(rows))], rows) for _ in range(_draws(scores))]
    return float(np.quantile(drawn, 0.975))


def _draws(scores: Values) -> int:
    return int(np.clip(WORK // max(scores.size, 1), FEWEST, DRAWS))
