"""What features say of labels without training a network: votes of the nearest, and logistic regression.

Both give scores (M, classes) for features (M, D) from features (N, D) whose labels are known.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.rows import Features
from moganet.embeddings.search import Values, nearest_of

NEIGHBOURS = (1, 5, 20)  # of which the better number is chosen on training images that are held back
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C, the larger the freer, likewise
USUAL = (5, 0.01)  # where too few images are there to choose by
WARMTH = 0.07  # of the votes' weights, exp(cosine / 0.07) (Wu et al. 2018)
ROUNDS = 200  # of the fit at most


@dataclass(frozen=True)
class Known:
    """Features (N, D) and what is known of them: rows of 0 and 1 (N, classes), in which `single` has one 1 each."""

    features: Features
    rows: NDArray[np.uint8]
    single: bool

    def part(self, places: NDArray[np.int64]) -> "Known":
        """Give some of them."""
        return Known(self.features[places], self.rows[places], self.single)


def vote(known: Known, asked: Features, number: int) -> Values:
    """Give each class the weight of the nearest `number` that have it, a share of theirs all (M, classes)."""
    places, cosines = nearest_of(asked, known.features, number)
    weights = np.exp((cosines - cosines.max(1, keepdims=True)) / WARMTH)
    weights /= weights.sum(1, keepdims=True)
    return np.stack([w @ known.rows[p] for w, p in zip(weights, places, strict=True)]).astype(np.float64)


def fit_linear(known: Known, asked: Features, penalty: float) -> Values:
    """Fit logistic regression on standardised features, and give its logits (M, classes)."""
    center, deviation = known.features.mean(0), known.features.std(0) + 1e-6
    x, y = ((values - center) / deviation for values in (known.features, asked))
    if known.single:
        return _logits(x, known.rows.argmax(1), y, penalty, known.rows.shape[1])
    columns = [_logits(x, has, y, penalty, 2)[:, 1] for has in known.rows.T]
    return np.stack(columns, axis=1)


def _logits(x: Features, labels: NDArray[np.integer], asked: Features, penalty: float, classes: int) -> Values:
    """Give logits (M, classes): of two classes 0 and the second's; -1e9 of a class that was not seen."""
    from sklearn.linear_model import LogisticRegression

    seen, made = np.unique(labels), np.full((len(asked), classes), -1e9)
    if len(seen) == 1:
        made[:, seen] = 0
        return made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last rounds are still moving, which no answer depends on
        fitted = LogisticRegression(C=penalty, max_iter=ROUNDS).fit(x, labels)
    given = fitted.decision_function(asked)
    made[:, seen] = np.stack([np.zeros_like(given), given], axis=1) if given.ndim == 1 else given
    return made
