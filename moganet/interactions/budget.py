"""How to spend a number of evaluations: images, pairs and contexts for the least error of J."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.errors import InteractionError
from moganet.interactions.measure import Interactions

Floats = NDArray[np.float64]
CONTEXTS = (5, 10, 15, 20, 30, 50, 75, 100, 150, 200)
PAIRS = (4, 6, 8, 12, 16, 24, 32, 50, 75, 100, 150, 200)
MIN_IMAGES = 5  # for a band over images
MAX_MASKS = 2_000_000  # an image; they are held in memory
_HALF_NORMAL = (2 / np.pi) ** 0.5


@dataclass(frozen=True)
class Plan:
    """What to measure, and the error of J to expect: root mean square over orders, and its two parts.

    bias: from finite contexts, which raise |I|. scatter: between images and pairs.
    """

    images: int
    pairs: int
    contexts: int
    evaluations: int
    error: float
    bias: float
    scatter: float


def count_evaluations(pairs: int, contexts: int, inner_orders: int, n: int) -> int:
    """Count an image's distinct masks: four a context, and those of the end orders, which pairs share."""
    return 4 * pairs * contexts * inner_orders + 2 * (1 + min(n, 2 * pairs) + pairs)


def plan_budget(
    pilot: Sequence[Interactions], evaluations: int, *, max_images: int, max_pairs: int, contexts: int | None = None
) -> Plan:
    """Choose images, pairs and contexts that `evaluations` masks allow, for the least expected error of J.

    pilot: some images' interactions, from few pairs and contexts. contexts: their number, where it is given. At each
    order I is taken as normal with variance tau^2, and its estimate as normal with tau^2 + sigma^2 / K, which gives
    the bias of J; images' scatter is that of the linearised ratio. Raises InteractionError where not even the smallest
    choice fits.
    """
    n, orders = pilot[0].num_players, pilot[0].orders
    inner = len(np.unique(orders[(orders != 0) & (orders != n - 2)]))
    best: Plan | None = None
    noise, spread = _variances(pilot)
    for tried in CONTEXTS if contexts is None else (contexts,):
        for pairs in sorted({min(pairs, max_pairs) for pairs in PAIRS}):
            an_image = count_evaluations(pairs, tried, inner, n)
            images = min(max_images, evaluations // an_image)
            if images < min(MIN_IMAGES, max_images) or an_image > MAX_MASKS:
                continue
            bias, scatter = _errors(pilot, noise, spread, (images, pairs, tried))
            error = float(np.hypot(bias, scatter))
            if best is None or error < best.error:
                best = Plan(images, pairs, tried, images * an_image, error, bias, scatter)
    if best is None:
        fewest = contexts or CONTEXTS[0]
        smallest = f"{MIN_IMAGES} images of {PAIRS[0]} pairs and {fewest} contexts"
        least = f"{smallest} need {MIN_IMAGES * count_evaluations(PAIRS[0], fewest, inner, n)}"
        raise InteractionError(f"the budget allows {evaluations} evaluations, but {least}; give more time")
    return best


def _variances(pilot: Sequence[Interactions]) -> tuple[Floats, Floats]:
    """Give at each order sigma^2, of one context's change, and tau^2, of I itself."""
    each = ((one.standard_errors, one.num_contexts, one.values) for one in pilot)
    errors, numbers, values = (np.concatenate(some) for some in zip(*each, strict=True))
    noise = np.nanmean(errors**2 * numbers, axis=0)
    total = (values**2).mean(axis=0)
    return noise, np.maximum(total - np.nanmean(errors**2, axis=0), 0.02 * total)


def _errors(
    pilot: Sequence[Interactions], noise: Floats, spread: Floats, choice: tuple[int, int, int]
) -> tuple[float, float]:
    """Give the expected bias and scatter of J, root mean squares over orders, for images, pairs and contexts."""
    images, pairs, contexts = choice
    true = _HALF_NORMAL * spread**0.5
    seen = _HALF_NORMAL * (spread + noise / contexts) ** 0.5
    bias = seen / seen.mean() - true / true.mean()
    strengths = [np.abs(one.values) for one in pilot]
    means = np.array([one.mean(axis=0) for one in strengths])
    curve, level = means.mean(axis=0) / means.mean(), means.mean()
    # An image's or a pair's part in the error of a ratio: its strength minus J times its own mean strength.
    of_images = (means - curve * means.mean(axis=1, keepdims=True)) / level
    of_pairs = [(one - curve * one.mean(axis=1, keepdims=True)) / level for one in strengths]
    within = np.mean([one.var(axis=0, ddof=1) for one in of_pairs], axis=0)
    between = np.maximum(of_images.var(axis=0, ddof=1) - within / len(strengths[0]), 0.0)
    scatter = between / images + within / (images * pairs)
    return float((bias**2).mean() ** 0.5), float(scatter.mean() ** 0.5)
