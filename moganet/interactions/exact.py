"""All interactions of few players, from one pass over every mask."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from moganet.errors import InteractionError
from moganet.interactions.measure import Value

Floats = NDArray[np.float64]
MAX_PLAYERS = 16


def exact_interactions(value: Value, n: int, *, batch_size: int = 4096) -> Floats:
    """Compute I^(m)(i,j) over all contexts, (n - 1, n, n): order, player, player; the diagonal is 0.

    value: from boolean masks (B, n) to values (B,). Evaluates 2^n masks. Raises InteractionError unless n is 2 to 16.
    """
    if not 2 <= n <= MAX_PLAYERS:
        raise InteractionError(f"exact interactions need 2 to {MAX_PLAYERS} players, not {n}; sample them instead")
    subsets = np.arange(2**n)
    present = (subsets[:, None] >> np.arange(n) & 1).astype(np.bool_)  # (2^n, n)
    batches = [np.asarray(value(present[i : i + batch_size]), np.float64) for i in range(0, 2**n, batch_size)]
    values = np.concatenate(batches)
    if values.shape != (2**n,) or not np.isfinite(values).all():
        raise InteractionError(f"the value function gave {values.shape}, or what is not finite, for {2**n} masks")
    sizes = present.sum(axis=1)
    numbers = np.array([comb(n - 2, m) for m in range(n - 1)], np.float64)
    interactions = np.zeros((n - 1, n, n))
    for i in range(n):
        for j in range(i + 1, n):
            contexts = subsets[~present[:, i] & ~present[:, j]]
            with_i, with_j = contexts | 1 << i, contexts | 1 << j
            changes = values[with_i | with_j] - values[with_i] - values[with_j] + values[contexts]
            interactions[:, i, j] = np.bincount(sizes[contexts], changes, n - 1) / numbers
            interactions[:, j, i] = interactions[:, i, j]
    return interactions


def shapley_interaction_index(interactions: Floats) -> Floats:
    """Give the Shapley interaction index (n, n) of `exact_interactions`' (n - 1, n, n): the mean over orders."""
    if interactions.ndim != 3 or interactions.shape != (len(interactions), *2 * (len(interactions) + 1,)):
        raise InteractionError(f"interactions must be (n - 1, n, n) for n players, not {interactions.shape}")
    return np.asarray(interactions.mean(axis=0))
