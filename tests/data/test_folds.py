"""Parts of a set: each image in one of them, classes in proportion, groups and copies undivided."""

import numpy as np
import pytest
import torch

from moganet.config.recipe import DataConfig
from moganet.data.divide import choose_fold
from moganet.data.source import ArraySplit, Dataset
from moganet.errors import ConfigError, DataError

NUMBER = 60


def labelled(kind):
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [30, 20, 10])
    random.shuffle(classes)
    return classes if kind == "classes" else (random.random((NUMBER, 3)) < [0.5, 0.3, 0.1]).astype(np.int64)


def contents(copies):
    return [b"%d" % (place // 2 if copies and place < 20 else NUMBER + place) for place in range(NUMBER)]


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("kind", ["classes", "rows"])
def test_each_image_is_in_one_part_beside_its_group_and_its_copies(kind, copies, grouped, parts):
    labels, known = labelled(kind), contents(copies)
    groups = [f"g{place // 3}" for place in range(NUMBER)] if grouped else None
    found = [choose_fold(labels, (part + 1, parts), 0, groups, known) for part in range(parts)]
    assert sorted(np.concatenate(found)) == list(range(NUMBER))
    part_of = {place: part for part, places in enumerate(found) for place in places.tolist()}
    for names in (groups or [], known):
        held: dict[object, set[int]] = {}
        for place, name in enumerate(names):
            held.setdefault(name, set()).add(part_of[place])
        assert all(len(some) == 1 for some in held.values())
    counts = np.array(
        [np.bincount(labels[places], minlength=3) if labels.ndim == 1 else labels[places].sum(0) for places in found]
    )
    if not grouped:
        assert (counts.max(0) - counts.min(0) <= (2 if not copies else 5)).all()
    again = choose_fold(labels, (1, parts), 0, groups, known)
    assert np.array_equal(again, found[0]) and not np.array_equal(
        again, choose_fold(labels, (1, parts), 1, groups, known)
    )


def test_what_can_not_be_divided_is_said():
    labels, known = labelled("classes"), contents(copies=False)
    with pytest.raises(DataError, match="2 groups can't be divided into 3 parts"):
        choose_fold(labels, (1, 3), 0, ["a", "b"] * 30, known)
    with pytest.raises(DataError, match="no class has 40 images"):
        choose_fold(labels, (1, 40), 0, None, known)


@pytest.mark.parametrize("given", ["0/3", "4/3", "1/1", "a/3", "1/3/5", "third"])
def test_a_part_that_is_none_is_refused(given):
    with pytest.raises(ConfigError):
        DataConfig(source="digits").changed(validation=given)


def test_folds_are_parts_of_training_and_validation_together_and_leave_the_test_images_alone():
    images = torch.arange(NUMBER, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    labels = torch.from_numpy(labelled("classes"))

    def split(places):
        return ArraySplit(images[places], labels[places], "x")

    dataset = Dataset(
        "x",
        ("a", "b", "c"),
        {"train": split([*range(30)]), "val": split([*range(30, 45)]), "test": split([*range(45, 60)])},
    )
    seen = []
    for part in (1, 2, 3):
        divided = dataset.with_validation(f"{part}/3", seed=0)
        train, val = ({int(sample.image[0, 0, 0]) for sample in divided.split(name)} for name in ("train", "val"))
        assert not train & val and train | val == {*range(45)}
        assert divided.split("test") is dataset.split("test")
        seen += val
    assert sorted(seen) == [*range(45)]
    own_val_is_test = dataset.with_validation("test", 0)
    assert len(own_val_is_test.undivided()) == 30
