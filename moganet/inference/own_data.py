"""The data that a model is asked about: the set that it was trained on, known again by its contents, or another one."""

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from moganet.data import Dataset, Split, open_data
from moganet.data.class_names import likeness, shown
from moganet.data.in_python import PREFIX
from moganet.data.source import concatenate
from moganet.errors import DataError
from moganet.inference.predictor import Predictor
from moganet.models.provenance import num_trained_on, source_on_this_machine
from moganet.notices import say

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data


def open_for(
    predictor: Predictor, data: "Data | None", class_names: "ClassNames | None" = None
) -> tuple[Dataset, bool]:
    """Open a data set, and say whether it is the one that the model was trained on, whose held-back images are "val".

    class_names: as in `open_data`; where a caller's set names none, its labels are the model's.

    It is known by the contents of its images, wherever they lie. Other data is given whole, as it divides itself; how
    many of its images were trained on is said.
    Raises DataError where it is that one but has changed since: what was held back can no longer be told.
    """
    provenance = predictor.config.provenance
    recipe = provenance.get("recipe") or {}
    trained_on, seed = {"source": None, "validation": None, **(recipe.get("data") or {})}, recipe.get("seed", 0)
    if data is None and trained_on["source"] is None:
        raise DataError("this model does not say what it was trained on; give --data SOURCE[:PATH]")
    opened = open_data(
        _source(predictor, trained_on["source"]) if data is None else data, class_names, otherwise=predictor.class_names
    )
    dataset = opened.with_white_level(predictor.config.preprocessing.white_level)
    if provenance.get("fingerprint") is None:
        _say_trained_on(dataset, predictor, at_home=False)
        return dataset, False
    divided, at_home = dataset, data is None or _is_home(dataset, trained_on["source"], predictor)
    if dataset.class_names == predictor.class_names:
        with suppress(DataError, TypeError, ValueError, KeyError):  # of a file of anyone's making
            divided = dataset.with_validation(trained_on["validation"], seed)
            divided = divided.with_fraction(trained_on.get("fraction", 1.0), seed)
    own_val = "val" in dataset.splits and "/" not in str(
        trained_on["validation"]
    )  # which a fold does not take as it is
    undivided = not own_val and trained_on["validation"] != "test"
    match divided.recognised(provenance["fingerprint"]):
        case "contents":
            if data is not None and undivided and "test" not in dataset.splits:  # which is taken otherwise
                held_back, every = len(divided.splits["val"]), _size(divided, "all")
                taken = f"as val are taken the {held_back:,} that were held back; --split all takes {every:,}"
                say(f"{dataset.spec} holds the images that this model was trained on: {taken}")
            return divided, True
        case "targets":
            what = f"the images of {dataset.spec} change each time they are read"
            say(f"{what}: they are taken for those that the model was trained on by their targets only")
            return divided, True
        case "names":
            if undivided:
                so = "by these a part is held back" if at_home else "they may be them"
                names = f"{dataset.spec} has the names of those it was trained on, so that {so}"
                say(f"this model is from before the contents of images were remembered: {names}", doubtful=True)
            return (divided if at_home else dataset), False
    if data is None and undivided:
        raise DataError(
            f"{dataset.spec} has changed since the model was trained (in the contents or the order of its images), so "
            "that the images held back can't be told from those trained on; restore it, or give --data, which is "
            "measured as a whole"
        )
    _say_trained_on(dataset, predictor, at_home=at_home)
    return dataset, False


def _source(predictor: Predictor, trained_on: str) -> str:
    if trained_on.partition(":")[0] == PREFIX:
        what = f"this model was trained on {trained_on}, a data set that was handed over in Python"
        raise DataError(f"{what}; hand it over again as data=, or give --data SOURCE[:PATH]")
    return source_on_this_machine(trained_on, predictor.name_of_model)


def _is_home(dataset: Dataset, source: str, predictor: Predictor) -> bool:
    if source.partition(":")[0] == PREFIX:  # a name that says nothing
        return False
    with suppress(DataError):
        return dataset.spec in (source, source_on_this_machine(source, predictor.name_of_model))
    return False


def _say_trained_on(dataset: Dataset, predictor: Predictor, *, at_home: bool) -> None:
    """Say of which images that measure it is known that the model was trained on them, or may have been."""
    provenance, who = predictor.config.provenance, predictor.name_of_model or "the model"
    if at_home and not provenance.get("images"):
        what = f"has changed since {who} was trained: what is measured may have been trained on, and flatter then"
        say(f"{dataset.spec} {what}", doubtful=True)
    for name, split in dataset.splits.items():
        measures = name != "train" or len(dataset.splits) == 1
        known, told = num_trained_on(provenance, split.contents) if measures else (0, 0)
        if known:
            of = f"{told:,}" if told == len(split) else f"{told:,} that can be told among the {len(split):,}"
            what = f"{who} was trained on {known:,} of {of} images of {dataset.spec} ({name})"
            say(f"{what}, by their contents; figures of these flatter", doubtful=True)


def choose_split(dataset: Dataset, name: str) -> tuple[str, Split]:
    """Give the asked split; for "test" the nearest thing that the set has: "val", or all of an undivided set."""
    if name == "test" and name not in dataset.splits:
        name = "val" if "val" in dataset.splits else "all"
        say(f"{dataset.spec} has no test split: {name} is taken ({_size(dataset, name):,} images); choose with --split")
    if name == "all":
        return "all", concatenate(list(dataset.distinct().values()))
    return name, dataset.split(name)


def _size(dataset: Dataset, name: str) -> int:
    return sum(map(len, dataset.distinct().values())) if name == "all" else len(dataset.splits[name])


def match_classes(names: tuple[str, ...], known: tuple[str, ...]) -> list[int]:
    """Give the model's class index for each of the data set's, by name."""
    missing = [name for name in names if name not in known]
    if missing:
        alike = {likeness(name): name for name in known}
        twins = [f"{name!a} looks like {alike[likeness(name)]!a}" for name in missing if likeness(name) in alike]
        raise DataError(
            f"the data set has classes that the model does not know: {shown(missing)}; the model knows "
            f"{shown(known, 10)}" + (f" ({twins[0]}; rename it)" if twins else "")
        )
    return [known.index(name) for name in names]


def in_classes_of(predictor: Predictor, dataset: Dataset, split: Split) -> Split:
    """Give a split of a data set with targets in the model's classes, by their names."""
    order = match_classes(dataset.class_names, predictor.class_names)
    return split.with_targets(split.targets.mapped(order, len(predictor.class_names)))


def say_absent(split: Split, class_names: tuple[str, ...], name: str) -> None:
    """Say which of a model's classes a split has no images of, since nothing was measured of them."""
    absent = [class_names[i] for i in np.flatnonzero(split.targets.counts(len(class_names)) == 0)]
    if absent:
        names = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        say(f"{len(absent)} of {len(class_names)} classes have no images in {name}, and no figures: {names}")
