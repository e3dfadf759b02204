"""A run's data set, opened and divided, and what was made of it in one line."""

import os
from collections import Counter
from pathlib import Path

from moganet.config import Recipe
from moganet.data import Dataset, FileSplit, open_data
from moganet.engine.checkpoints import is_first_process
from moganet.errors import DataError
from moganet.notices import say

MAX_CLASSES = 20  # named in the line


def open_divided(spec: str, settings: Recipe) -> Dataset:
    """Open a data set and divide it as a recipe says; classes, counts and division are said.

    Raises DataError for a set with a single class.
    """
    opened = open_data(spec)
    if len(opened.class_names) < 2:
        raise DataError(_one_class(opened))
    held = opened.with_validation(settings.data.validation, settings.seed)
    dataset = held.with_fraction(settings.data.fraction, settings.seed)
    if is_first_process():
        say(_described(opened, dataset, settings))
    return dataset


def _described(opened: Dataset, dataset: Dataset, settings: Recipe) -> str:
    train, val = dataset.split("train"), dataset.split("val")
    counts = Counter(train.labels.tolist())
    named = [f"{name} {counts[index]}" for index, name in enumerate(dataset.class_names[:MAX_CLASSES])]
    more = "" if len(dataset.class_names) <= MAX_CLASSES else f", and {len(dataset.class_names) - MAX_CLASSES} more"
    asked = settings.data.validation
    if isinstance(asked, str) or (asked is None and "val" in opened.splits):
        origin = f"its own {asked or 'val'}"
    else:
        origin = f"held back by seed {settings.seed}; choose otherwise by --set data.validation="
    share = "" if settings.data.fraction == 1 else f" ({settings.data.fraction:g} of each class)"
    return (
        f"{len(dataset.class_names)} classes ({', '.join(named)}{more}), {len(train)} training images{share}, "
        f"{len(val)} for validation ({origin})"
    )


def _one_class(dataset: Dataset) -> str:
    """Say that there is one class, and where the classes may lie."""
    name = dataset.class_names[0] if dataset.class_names else "none"
    text = f"{dataset.spec} has one class ({name}), and a classifier needs two"
    split = next(iter(dataset.splits.values()), None)
    if not isinstance(split, FileSplit) or not len(split):
        return text
    places = {str(file.parent) for file in split.files}
    above = os.path.commonpath(places)
    inner = sorted({Path(os.path.relpath(place, above)).parts[0] for place in places if place != above})
    if len(inner) > 1:
        text += f"; its folder holds {', '.join(inner[:5])}: if these are the classes, use --data {above}"
    return text
