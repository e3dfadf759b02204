"""Labels of several an image that look wrong, by confident learning of each class (Thyagarajan et al. 2022)."""

import warnings
from collections.abc import Sequence

import numpy as np

from moganet.errors import DataError, import_extra
from moganet.tasks.multilabel.answers import sigmoid
from moganet.tasks.report import Answers, in_parts


def find_doubtful(parts: Sequence[Answers]) -> list[tuple[int, int]]:
    """Give the images some label of which looks wrong, as Task.doubtful does."""
    what = "looking for label errors"
    find_label_issues = import_extra("cleanlab.multilabel_classification.filter", what, "report").find_label_issues
    rows = np.concatenate([part.targets.numpy() for part in parts]) > 0
    probabilities = np.concatenate([sigmoid(part.outputs.numpy()) for part in parts])
    known = np.flatnonzero(rows.any(0) & ~rows.all(0))  # by a class that all or none have, nothing can be told
    if not len(known):
        raise DataError("label errors can't be told where each class is in all images or in none")
    labels = [np.flatnonzero(row).tolist() for row in rows[:, known]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes with few images
        ranked = find_label_issues(
            labels, probabilities[:, known], return_indices_ranked_by="self_confidence", n_jobs=1
        )
    return in_parts(np.asarray(ranked, np.int64), [len(part) for part in parts])
