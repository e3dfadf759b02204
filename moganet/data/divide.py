"""Which images of a set are held back for validation: drawn by a seed, in proportion, groups and copies undivided.

Images of several classes are divided by iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, figure 1): the
rarest class first, each image to the side that still lacks most of that class. A class with two images or more stands
on both sides, which the paper's rule alone does not promise.
"""

import warnings
from collections.abc import Sequence

import numpy as np

from moganet.data.contents import num_copies, together
from moganet.errors import DataError


def choose_held_out(
    labels: np.ndarray, amount: int | float, seed: int, groups: Sequence[str] | None, contents: Sequence[bytes]
) -> np.ndarray:
    """Give the places, in order, of `amount` images (a number or a share), each class in proportion.

    labels: classes (N,), or rows of 0 and 1 (N, classes). A class with a single image stays in training. Groups, and
    copies of one image, are not divided; the amount is then met as nearly as they allow.
    """
    total = len(labels)
    number = amount if isinstance(amount, int) else max(1, round(amount * total))
    if number >= total:
        raise DataError(f"data.validation asks for {number} of {total} training images; hold back fewer")
    copies = num_copies(contents)
    if labels.ndim == 2:
        return _held_rows(labels, together(contents, groups) if copies or groups else np.arange(total), number, seed)
    if groups is not None:
        return _held_groups(labels, together(contents, groups) if copies else groups, number, seed)
    if not copies:
        return _held_images(labels, number, seed)
    numbers = together(contents)
    _, firsts = np.unique(numbers, return_index=True)
    held = _held_images(labels[firsts], max(1, round(number * len(firsts) / total)), seed)
    return np.flatnonzero(np.isin(numbers, numbers[firsts[held]]))


def choose_fold(
    labels: np.ndarray, fold: tuple[int, int], seed: int, groups: Sequence[str] | None, contents: Sequence[bytes]
) -> np.ndarray:
    """Give the places, in order, of one part of a set, each class in proportion: `fold` (2, 5) is the second of five.

    labels: as in `choose_held_out`. Each image is in one part; groups, and copies of one image, are in the same.
    """
    part, parts = fold
    apart = groups is None and not num_copies(contents)
    units = np.arange(len(labels)) if apart else together(contents, groups)
    number = len(np.unique(units))
    if number < parts:
        kind = "groups" if groups is not None else "images that are no copies of others"
        raise DataError(f"{number} {kind} can't be divided into {parts} parts; ask for fewer")
    if labels.ndim == 2:
        held = _row_fold(labels, units, fold, seed)
    else:
        held = _class_fold(labels, units, fold, seed, grouped=groups is not None)
    if not len(held):
        raise DataError(f"the groups are so large that part {part} of {parts} would be empty; ask for fewer parts")
    return held


def _class_fold(
    labels: np.ndarray, units: np.ndarray, fold: tuple[int, int], seed: int, *, grouped: bool
) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    (part, parts), (_, firsts, unit_of) = fold, np.unique(units, return_index=True, return_inverse=True)
    how = {"n_splits": parts, "shuffle": True, "random_state": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than parts
        try:
            if grouped:
                return np.sort([*StratifiedGroupKFold(**how).split(labels, labels, units)][part - 1][1])
            chosen = [*StratifiedKFold(**how).split(firsts, labels[firsts])][part - 1][1]
        except ValueError:
            few = f"no class has {parts} images, so that {parts} parts can't hold each class; ask for fewer"
            raise DataError(few) from None
    return np.flatnonzero(np.isin(unit_of, chosen))


def _row_fold(rows: np.ndarray, units: np.ndarray, fold: tuple[int, int], seed: int) -> np.ndarray:
    """Hold back the parts one after the other, each of what the earlier ones left."""
    part, parts = fold
    left: np.ndarray = np.arange(len(rows))
    for earlier in range(part - 1):
        number = round(len(left) / (parts - earlier))
        left = np.delete(left, _held_rows(rows[left], units[left], number, seed))
    if part == parts:
        return left
    held = _held_rows(rows[left], units[left], round(len(left) / (parts - part + 1)), seed)
    return np.asarray(left[held])


def _held_images(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    counts = np.bincount(labels)
    candidates = np.flatnonzero(counts[labels] > 1)  # a class's only image is needed for training
    if number >= len(candidates):
        what = f"data.validation asks for {number} images, but only {len(candidates)} have another of their class in"
        raise DataError(f"{what} training; give more images of each class, or look whether the labels are classes")
    from sklearn.model_selection import train_test_split

    classes = int((counts > 1).sum())
    stratify = labels[candidates] if classes <= min(number, len(candidates) - number) else None
    _, held = train_test_split(candidates, test_size=number, random_state=seed, stratify=stratify)
    return np.sort(held)


def _held_groups(labels: np.ndarray, groups: Sequence[str] | np.ndarray, number: int, seed: int) -> np.ndarray:
    folds = max(2, round(len(labels) / number))
    if len(set(groups)) < folds:
        raise DataError(f"{len(set(groups))} groups can't be divided into {folds} parts; hold back more, say 0.5")
    from sklearn.model_selection import StratifiedGroupKFold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns of classes with fewer images than folds
        divided = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        _, held = next(iter(divided.split(np.zeros(len(labels)), labels, groups)))
    if not len(held):
        raise DataError("the groups are so large that none can be held back; make smaller ones or name a split")
    return np.sort(held)


def _held_rows(rows: np.ndarray, units: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Divide rows of 0 and 1 (N, classes); units (N,): rows of one number stay together."""
    names, unit_of = np.unique(units, return_inverse=True)
    if len(names) < 2:
        raise DataError("all images are copies or of one group, so that none can be held back; name a split")
    counts = np.zeros((len(names), rows.shape[1] + 1))
    np.add.at(counts, unit_of, np.column_stack([rows, rows.sum(1) == 0]))  # those of no class are one more class
    sizes = np.bincount(unit_of)
    held = _iterative(counts, sizes, number / len(rows), np.random.default_rng(seed))
    return np.flatnonzero(_evened(held, counts, sizes, number)[unit_of])


def _iterative(counts: np.ndarray, sizes: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Tell which units are held; counts (units, classes) and sizes (units,) in images, share: of the images."""
    has = counts > 0
    units_of = has.sum(0)
    wanted = np.outer([1 - share, share], counts.sum(0))  # (sides, classes)
    room = sizes.sum() * np.array([1 - share, share])
    held, left = np.zeros(len(counts), bool), np.ones(len(counts), bool)
    given = np.zeros((2, counts.shape[1]), int)  # units of each class on each side
    while (open_classes := np.flatnonzero(has[left].any(0))).size:
        rarest = open_classes[has[left][:, open_classes].sum(0).argmin()]
        for unit in generator.permutation(np.flatnonzero(left & has[:, rarest])):
            side = _side(wanted[:, rarest], room, generator)
            last = units_of[rarest] - given[:, rarest].sum() == 1
            if units_of[rarest] == 1:
                side = 0  # a class's only unit is needed for training
            elif last and not given[1 - side, rarest]:
                side = 1 - side
            held[unit], left[unit] = side == 1, False
            wanted[side] -= counts[unit]
            room[side] -= sizes[unit]
            given[side] += has[unit]
    return held


def _evened(held: np.ndarray, counts: np.ndarray, sizes: np.ndarray, number: int) -> np.ndarray:
    """Move units until `number` images are held, or as nearly as no class loses its last unit on a side."""
    has, share = counts > 0, number / sizes.sum()
    while excess := int(sizes[held].sum()) - number:
        full = held == (excess > 0)  # the units of the side that has too many
        movable = full & (sizes <= abs(excess)) & (~has | (has[full].sum(0) > 1)).all(1)
        if not movable.any():
            break
        over = counts[full].sum(0) - counts.sum(0) * (share if excess > 0 else 1 - share)  # (classes,)
        unit = np.flatnonzero(movable)[((has * over).sum(1) / has.sum(1))[movable].argmax()]
        held[unit] = not held[unit]
    return held


def _side(wanted: np.ndarray, room: np.ndarray, generator: np.random.Generator) -> int:
    """Choose the side that lacks most of the class, else of all images, else by chance."""
    for lack in (wanted, room):
        if not np.isclose(lack[0], lack[1]):
            return int(lack.argmax())
    return int(generator.integers(2))


def choose_share(strata: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Give the places, in order, of a share of each class's images, at least one; a larger share has the same."""
    generator = np.random.default_rng(seed)
    classes = (strata == label for label in np.unique(strata)) if strata.ndim == 1 else (*strata.T, strata.sum(1) == 0)
    places = [np.flatnonzero(one) for one in classes]  # the last of rows: images of none
    drawn = [generator.permutation(some)[: max(1, round(share * len(some)))] for some in places if len(some)]
    return np.unique(np.concatenate(drawn))
