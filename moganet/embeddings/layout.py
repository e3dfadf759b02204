"""Features in a plane, so that what is alike lies together: principal components, or t-SNE (van der Maaten 2008)."""

import numpy as np
from numpy.typing import NDArray

from moganet.embeddings.rows import Features

Plane = NDArray[np.float64]
COMPONENTS = 30  # that t-SNE is given
PERPLEXITY = 30.0
ROUNDS = 500  # of t-SNE; half of scikit-learn's, after which little moves
FEWEST = 10  # images for t-SNE


def components(features: Features) -> tuple[Plane, float]:
    """Give the first two principal components of features (n, D) as places in 0..1 (n, 2), and their share."""
    found, shares = _principal(features, 2)
    return _in_square(found), float(shares.sum())


def tsne(features: Features) -> Plane | None:
    """Give t-SNE's places in 0..1 (n, 2), the same each time; None for fewer than ten images, or equal ones."""
    given, shares = _principal(features, COMPONENTS)
    if len(features) < FEWEST or not shares.sum() > 0:
        return None
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(given) - 1) / 3)
    with threadpool_limits(1):
        made = TSNE(perplexity=perplexity, max_iter=ROUNDS, init="pca", random_state=0).fit_transform(given)
    return _in_square(made.astype(np.float64)) if np.isfinite(made).all() else None


def _principal(features: Features, number: int) -> tuple[Plane, Plane]:
    """Give the first components (n, number) and their shares of the variance; fewer dimensions are filled with 0."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(-variances)[:number]
    made = centred @ axes[:, order]
    total = max(float(variances.clip(0).sum()), 1e-30)
    signs = np.sign(made[np.abs(made).argmax(0), np.arange(made.shape[1])])  # eigenvectors have none of their own
    made = np.pad(made * np.where(signs < 0, -1, 1), ((0, 0), (0, max(0, number - made.shape[1]))))
    return made, variances[order].clip(0) / total


def _in_square(places: Plane) -> Plane:
    low, high = places.min(0), places.max(0)
    return np.asarray((places - low) / np.where(high > low, high - low, 1))
