"""Figures of classes of pixels against a mask: intersections, and those along the borders (numpy and scipy)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.masks_coding import IGNORED
from moganet.tasks.segment.labels import Labels

BORDER = 0.02  # of an image's diagonal: how far from a border Boundary IoU looks (Cheng et al. 2021)
OUTSIDE = -2  # no class: an image's own edge is a border too, as in the paper's code
Counts = NDArray[np.int64]


def confusion(labels: Labels, truth: Labels, num_classes: int) -> Counts:
    """Count the pixels (classes, classes) by their class, row by row, and the class that they were given."""
    known = truth != IGNORED
    pairs = truth[known].astype(np.int64) * num_classes + labels[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def borders(labels: Labels, reach: int) -> NDArray[np.bool_]:
    """Tell which pixels (H, W) lie within `reach` of another class or the image's edge, along rows and columns."""
    from scipy.ndimage import maximum_filter, minimum_filter

    how: dict[str, Any] = {"size": 2 * reach + 1, "mode": "constant", "cval": OUTSIDE}
    values = labels.astype(np.int32)
    return np.asarray(maximum_filter(values, **how) != minimum_filter(values, **how))


def boundary_counts(labels: Labels, truth: Labels, num_classes: int) -> Counts:
    """Count for each class the pixels along borders (classes, 3): of the mask, of the answer, and of both."""
    reach = max(1, round(BORDER * float(np.hypot(*truth.shape))))
    known = truth != IGNORED
    ours, theirs = borders(labels, reach) & known, borders(truth, reach) & known
    both = ours & theirs & (labels == truth)
    parts = (truth[theirs], labels[ours], truth[both])
    return np.stack([np.bincount(part, minlength=num_classes) for part in parts], 1).astype(np.int64)


def ious(matrix: Counts) -> NDArray[np.float64]:
    """Give the intersection over union of each class (classes,); NaN for one that neither has."""
    both, union = np.diag(matrix), matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def boundary_ious(counts: Counts) -> NDArray[np.float64]:
    """Give the intersection over union along borders of each class (classes,); NaN for one that neither has."""
    union = counts[:, 0] + counts[:, 1] - counts[:, 2]
    return np.where(union > 0, counts[:, 2] / np.maximum(union, 1), np.nan)


def mean(values: NDArray[np.float64]) -> float | None:
    """Give the mean of what was measured; None where nothing was."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
