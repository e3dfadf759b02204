"""A run's data set, opened and divided, and what was made of it in one line."""

from moganet.config import Recipe
from moganet.data import Dataset, open_data
from moganet.data.leaks import describe_leaks
from moganet.data.module import check_readable
from moganet.notices import say
from moganet.tasks.recipes import task_of
from moganet.training.signals import is_first_process

MAX_CLASSES = 20  # named in the line


def open_divided(spec: str, settings: Recipe) -> Dataset:
    """Open a data set and divide it as a recipe says; classes, counts and division are said.

    Raises DataError for a set of which its task can learn nothing.
    """
    opened = open_data(spec)
    task_of(settings).check(opened, training=True)
    held = opened.with_validation(settings.data.validation, settings.seed)
    dataset = held.with_fraction(settings.data.fraction, settings.seed)
    read = dataset.with_white_level(settings.preprocessing.white_level)
    for name in ("train", "val"):
        check_readable(read.split(name), f"{dataset.spec} ({name})")
    if is_first_process():
        say(_described(opened, dataset, settings))
        for leak in describe_leaks(dataset):
            say(leak, doubtful=True)
    return dataset


def _described(opened: Dataset, dataset: Dataset, settings: Recipe) -> str:
    train, val = dataset.split("train"), dataset.split("val")
    counts = train.targets.counts(len(dataset.class_names)).tolist()
    named = [f"{name} {number}" for name, number in zip(dataset.class_names[:MAX_CLASSES], counts, strict=False)]
    more = "" if len(dataset.class_names) <= MAX_CLASSES else f", and {len(dataset.class_names) - MAX_CLASSES} more"
    asked = settings.data.validation
    if isinstance(asked, str) or (asked is None and "val" in opened.splits):
        origin = f"its own {asked or 'val'}"
    else:
        origin = f"held back by seed {settings.seed}; choose otherwise by --set data.validation=SHARE"
    share = "" if settings.data.fraction == 1 else f" ({settings.data.fraction:g} of each class)"
    return (
        f"{len(dataset.class_names)} classes ({', '.join(named)}{more}), {len(train)} training images{share}, "
        f"{len(val)} for validation ({origin})"
    )
