"""Which images of a set are held back for validation: drawn by a seed, in proportion, groups and copies undivided."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from moganet.data.contents import num_copies, together
from moganet.errors import DataError


def choose_held_out(
    labels: np.ndarray, amount: int | float, seed: int, groups: Sequence[str] | None, contents: Sequence[bytes]
) -> np.ndarray:
    """Give the places, in order, of `amount` images (a number or a share), each class in proportion.

    A class with a single image stays in training. Groups, and copies of one image, are not divided; the amount is then
    met as nearly as they allow.
    """
    total = len(labels)
    number = amount if isinstance(amount, int) else max(1, round(amount * total))
    if number >= total:
        raise DataError(f"data.validation asks for {number} of {total} training images; hold back fewer")
    copies = num_copies(contents)
    if groups is not None:
        return _held_groups(labels, together(contents, groups) if copies else groups, number, seed)
    if not copies:
        return _held_images(labels, number, seed)
    numbers = together(contents)
    _, firsts = np.unique(numbers, return_index=True)
    held = _held_images(labels[firsts], max(1, round(number * len(firsts) / total)), seed)
    return np.flatnonzero(np.isin(numbers, numbers[firsts[held]]))


def _held_images(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    counts = np.bincount(labels)
    candidates = np.flatnonzero(counts[labels] > 1)  # a class's only image is needed for training
    if number >= len(candidates):
        raise DataError(
            f"data.validation asks for {number} images, but only {len(candidates)} have another of their class in "
            "training; give more images of each class, or look whether the labels are classes"
        )
    classes = int((counts > 1).sum())
    stratify = labels[candidates] if classes <= min(number, len(candidates) - number) else None
    _, held = train_test_split(candidates, test_size=number, random_state=seed, stratify=stratify)
    return np.sort(held)


def _held_groups(labels: np.ndarray, groups: Sequence[str] | np.ndarray, number: int, seed: int) -> np.ndarray:
    folds = max(2, round(len(labels) / number))
    if len(set(groups)) < folds:
        raise DataError(f"{len(set(groups))} groups can't be divided into {folds} parts; hold back more, say 0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns of classes with fewer images than folds
        divided = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        _, held = next(iter(divided.split(np.zeros(len(labels)), labels, groups)))
    if not len(held):
        raise DataError("the groups are so large that none can be held back; make smaller ones or name a split")
    return np.sort(held)
