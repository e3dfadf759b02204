"""A pose's score, and which of several poses are of one person: the reference's rules; numpy alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEEN = 0.2  # a key point's score, above which it counts in a pose's
DOUBLE = 0.9  # OKS, above which two poses of an image are of one person
Array = NDArray[np.floating[Any]]


def scores_of(points: Array, boxes: Array) -> NDArray[np.float64]:
    """Give each pose's score (N,): its box's times the mean of its key points' scores (N, K, 3) above 0.2."""
    seen = points[..., 2] > SEEN
    means = np.where(seen, points[..., 2], 0).sum(1) / seen.sum(1).clip(1)
    return np.asarray(means * boxes[:, 4], np.float64)


def without_doubles(points: Array, scores: Array, areas: Array, sigmas: Sequence[float]) -> list[int]:
    """Give the places of the poses (N, K, 3) of an image that are left when those like a better one have gone."""
    order, kept = np.argsort(-scores, kind="stable").tolist(), list[int]()
    while order:
        best, *order = order
        kept.append(best)
        alike = likeness(points[order], points[best], (areas[best] + areas[order]) / 2, sigmas).mean(-1)
        order = [place for place, like in zip(order, alike, strict=True) if like <= DOUBLE]
    return kept


def likeness(poses: Array, others: Array, areas: Array, sigmas: Sequence[float]) -> Array:
    """Give the OKS (N, K) of each key point alone, of poses (N, K, 3) with others, or one. areas: (N,), in pixels."""
    away = np.square(poses[..., :2] - others[..., :2]).sum(-1)
    variances = np.square(2 * np.array(sigmas))
    return np.asarray(np.exp(-away / variances / (areas[:, None] + np.spacing(1)) / 2))
