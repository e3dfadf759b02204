"""The images that several models are compared on: the same ones, by contents and labels, as each of them sees them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moganet.data import Dataset, Split
from moganet.data.class_names import shown
from moganet.data.contents import UNREADABLE
from moganet.errors import ConfigError, DataError
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.predictor import Predictor
from moganet.inference.seeing import How, see
from moganet.models.provenance import num_trained_on
from moganet.notices import say
from moganet.tasks.report import Answers

if TYPE_CHECKING:
    from moganet.data.in_python import Data

Key = tuple[bytes, str, int]  # an image's contents, its label, and which of several equal ones it is


@dataclass(frozen=True)
class Common:
    """Images that several models saw, in one order. answers: one a model, of the same n images.

    dataset, split: as the first model knows them. unreadable: images that one of them could not read.
    """

    dataset: Dataset
    split: str
    answers: Sequence[Answers]
    unreadable: int


def check_alike(names: Sequence[str], predictors: Sequence[Predictor]) -> None:
    """Raise ConfigError for models that don't answer the same question."""
    first = predictors[0]
    for name, other in zip(names[1:], predictors[1:], strict=True):
        if other.task is not first.task:
            tasks = f"{names[0]} is of the task {first.task.name}, {name} of {other.task.name}"
            raise ConfigError(f"{tasks}: their answers can't be compared")
        ours, theirs = set(first.class_names), set(other.class_names)
        if ours != theirs:
            only = [
                f"{who} alone knows {shown(sorted(some))}"
                for who, some in ((names[0], ours - theirs), (name, theirs - ours))
                if some
            ]
            raise ConfigError(f"{names[0]} and {name} know other classes ({'; '.join(only)}): they can't be compared")


def see_common(
    names: Sequence[str], predictors: Sequence[Predictor], data: "Data | None", split: str, how: How
) -> Common:
    """Let models see the images that each has in a split, by contents and label, whatever their order.

    data: None is the set that each was trained on. Raises DataError where no image is in the splits of all.
    """
    found = [_split_for(predictor, data, split) for predictor in predictors]
    keys = [_keys(dataset, images) for dataset, _, images in found]
    in_all = set.intersection(*map(set, keys))
    _check_common(names, found, keys, in_all)
    shared = [key for key in keys[0] if key in in_all]
    answers = []
    for who, predictor, (dataset, name, images), known in zip(names, predictors, found, keys, strict=True):
        _say_trained_on(who, predictor, [content for content, _, _ in shared])
        subset = images.subset([known[key] for key in shared])
        answers.append(see(predictor, dataset, (name, subset), how))
    readable = set.intersection(*({*one.places.tolist()} for one in answers))
    if not readable:
        raise DataError(f"no image of {found[0][0].spec} ({found[0][1]}) can be read by all of these models")
    return Common(found[0][0], found[0][1], [_only(one, readable) for one in answers], len(shared) - len(readable))


def _say_trained_on(name: str, predictor: Predictor, contents: Sequence[bytes]) -> None:
    """Say how many of the images that are compared a model was trained on, which flatter it."""
    known, told = num_trained_on(predictor.config.provenance, lambda: contents)
    if known:
        what = f"{name} was trained on {known:,} of the {told:,} images that are compared, by their contents"
        say(f"{what}; figures of these flatter it", doubtful=True)


def _split_for(predictor: Predictor, data: "Data | None", split: str) -> tuple[Dataset, str, Split]:
    dataset, _ = open_for(predictor, data)
    predictor.task.check(dataset, training=False)
    name, images = choose_split(dataset, split)
    return dataset, name, images


def _keys(dataset: Dataset, images: Split) -> dict[Key, int]:
    """Give the place of each image whose file can be read."""
    places: dict[Key, int] = {}
    seen: Counter[tuple[bytes, str]] = Counter()
    for place, content in enumerate(images.contents()):
        if content != UNREADABLE:
            key = content, images.targets.text(place, dataset.class_names)
            places[(*key, seen[key])] = place
            seen[key] += 1
    return places


def _check_common(
    names: Sequence[str], found: Sequence[tuple[Dataset, str, Split]], keys: Sequence[dict[Key, int]], in_all: set[Key]
) -> None:
    """Say how many images are compared, where that is not all. Raises DataError where there are none."""
    where = [
        f"{len(images):,} of {name} ({dataset.spec}, {split})"
        for name, (dataset, split, images) in zip(names, found, strict=True)
    ]
    if not in_all:
        what = f"no image is the same, with the same label, in what these models are measured on: {', '.join(where)}"
        raise DataError(f"{what}; give --data a set that all of them can be measured on")
    if any(len(known) > len(in_all) for known in keys):
        why = "the same by contents and label, and trained on by none" if found[0][1] != "train" else "the same"
        say(f"compared are the {len(in_all):,} images that are {why}: {', '.join(where)}", doubtful=True)


def _only(answers: Answers, places: set[int]) -> Answers:
    kept = np.array([place in places for place in answers.places.tolist()], bool)
    known = answers.places[kept], answers.outputs[kept], answers.targets[kept]
    return Answers(answers.name, answers.split, *known, answers.seconds, answers.unreadable)
