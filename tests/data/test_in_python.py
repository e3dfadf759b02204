"""Data sets that a caller has in Python: what is taken, what is refused with which remedy, and what can't be known."""

import multiprocessing
import pickle
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision import transforms

from moganet import open_data
from moganet.config import Preprocessing
from moganet.data import ArraySplit
from moganet.data.item_split import ItemSplit
from moganet.data.loader import Loader
from moganet.data.module import evaluation_loader
from moganet.errors import DataError
from moganet.notices import listening
from moganet.tasks import TASKS

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 8, 10, 3), dtype=np.uint8)
LABELS = [i % 2 for i in range(12)]


class Own(Dataset):
    """Images and labels, made by functions of their place."""

    def __init__(self, make=lambda i: Image.fromarray(PIXELS[i]), label=LABELS.__getitem__, n=12, classes=("a", "b")):
        self.make, self.label, self.n = make, label, n
        if classes:
            self.classes = list(classes)

    def __len__(self):
        return self.n

    def __getitem__(self, place):
        return self.make(place), self.label(place)


class Endless(IterableDataset):
    def __iter__(self):
        yield PIXELS[0], 0


def tensors(scale=1):
    return torch.from_numpy(PIXELS).permute(0, 3, 1, 2) * scale


Row = namedtuple("Row", "image label")
FORMS = {
    "PIL": Own(),
    "arrays": Own(PIXELS.__getitem__),
    "tensors": TensorDataset(tensors(), torch.tensor(LABELS)),
    "floats": TensorDataset(tensors() / 255, torch.tensor(LABELS)),
    "ToTensor": Own(lambda i: transforms.ToTensor()(PIXELS[i])),
    "a list": [(PIXELS[i], i % 2) for i in range(12)],
    "named tuples": [Row(PIXELS[i], i % 2) for i in range(12)],
    "rows by name": [{"image": Image.fromarray(PIXELS[i]), "label": i % 2} for i in range(12)],
    "a Subset": Subset(Own(), range(12)),
    "joined": ConcatDataset([Subset(Own(), range(5)), Subset(Own(), range(5, 12))]),
    "labels (1,)": Own(label=lambda i: np.array([i % 2], np.uint8)),
    "labels by name": Own(label=lambda i: "ab"[i % 2]),
    "bool labels": Own(label=lambda i: bool(i % 2)),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_the_form_the_pixels_and_classes_are_the_same(form):
    dataset = open_data(FORMS[form], None if hasattr(FORMS[form], "classes") else ["a", "b"])
    split = dataset.split("train")
    assert dataset.class_names == ("a", "b") and split.labels.tolist() == LABELS
    assert torch.equal(split[7].image, tensors()[7]) and split[7].name == "train/7"
    held = dataset.with_white_level(None)
    assert isinstance(held.split("train"), ArraySplit) and torch.equal(held.split("train").images, tensors())
    assert held.fingerprint() == dataset.fingerprint() == open_data(FORMS["PIL"]).fingerprint()
    part = held.split("train").subset([3, 9]).subset([1])
    assert part[0].name == "train/9" and torch.equal(part[0].image, tensors()[9])


def refused(match, *given):
    return pytest.param(given, match, id=match)


class Nameless(Own):
    def __len__(self):
        raise RuntimeError("not known")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        refused(
            "item 0: a float image must lie in 0..1.*before they are normalised",
            Own(lambda i: tensors(2)[i] / 255.0 - 1),
        ),
        refused("divide values of 0..255 by 255", Own(lambda i: tensors()[i].float())),
        refused("item 5: its class is -1.*leave such items out", Own(label=lambda i: -1 if i == 5 else 0)),
        refused("item 2: its class is 2, and the 2 classes are 0 to 1", Own(label=lambda i: i)),
        refused(r"int\(label\)", Own(label=float)),
        refused("is None, and no index", Own(label=lambda i: None)),
        refused("no row of 0 and 1", Own(label=lambda i: [0.3, 0.7])),
        refused("has 3 values, and there are 2 classes", Own(label=lambda i: [0, 0, 1])),
        refused(
            "item 4 is a row of 0 and 1, and that of item 0 an index", Own(label=lambda i: [0, 1] if i == 4 else 0)
        ),
        refused("'c', which is none of the class_names", Own(label=lambda i: "c")),
        refused("does not name its classes; say class_names", Own(classes=None)),
        refused("class_names is a str", Own(), "ab"),
        refused("two classes have one name: a", Own(classes=None), ["a", "a"]),
        refused("the same in another order", Own(), ["b", "a"]),
        refused("whose indices are not 0, 1, 2", Own(classes=None), {1: "a", 2: "b"}),
        refused("joined data sets name other classes", ConcatDataset([Own(), Own(classes="ba")])),
        refused("val has classes that train has not: c", {"train": Own(), "val": Own(classes="bc")}),
        refused("IterableDataset|Endless, which has no item at a place", Endless()),
        refused(r"list\(dataset\) is one", (one for one in [1])),
        refused("loader.dataset", DataLoader(Own())),
        refused(r"make one of it: Own\(", Own),
        refused("does not know its length .not known", Nameless()),
        refused("is empty", Own(n=0)),
        refused("the dict of data sets is empty", {}),
        refused("'trian' is no split", {"trian": Own()}),
        refused("two of the dict's keys mean val", {"val": Own(), "valid": Own()}),
        refused("'val' is a str", {"train": Own(), "val": "digits"}),
        refused("tuple of 3, and no pair", [(PIXELS[0], 0, 1)], ["a"]),
        refused("TensorDataset", (PIXELS, LABELS), ["a", "b"]),
        refused("both label and class", [{"image": PIXELS[0], "label": 0, "class": 0}], ["a"]),
        refused("none of image, img, picture may be the image", [{"x": PIXELS[0], "label": 0}], ["a"]),
        refused("none of the 12 items of train can be read: ZeroDivisionError", Own(lambda i: 1 / 0)),
        refused("says that it has 20 items, but item 12 and all behind it", Own(n=20)),
        refused("digits names its classes itself", "digits", ["a"]),
        refused("handed over in Python, and can't be opened by its name", "python:Own"),
    ],
)
def test_what_is_no_such_set_is_refused_in_a_line_that_says_what_to_give(given, match):
    with pytest.raises(DataError, match=match) as caught:
        open_data(*given)
    assert "\n" not in str(caught.value)


def test_splits_are_joined_by_the_names_of_their_classes_and_known_by_usual_names():
    with listening() as heard:
        dataset = open_data(
            {
                "train": Own(classes="abc"),
                "validation": Own(classes="cb"),
                "test": TensorDataset(tensors(), torch.tensor(LABELS)),
            }
        )
    assert list(dataset.splits) == ["train", "val", "test"] and dataset.class_names == ("a", "b", "c")
    assert dataset.split("val").labels.tolist() == [2 - label for label in LABELS]
    assert dataset.split("test").labels.tolist() == LABELS
    assert any("took validation for val" in note for note in heard) and any(
        "names no classes" in note for note in heard
    )
    assert open_data(Own(classes=None), {"y": 1, "x": 0}).class_names == ("x", "y")
    same = Own()
    assert list(open_data({"train": Own(), "val": same, "test": same}).distinct()) == ["train", "val"]


def flipping(place):
    return transforms.RandomHorizontalFlip()(Image.fromarray(PIXELS[place]))


@pytest.mark.parametrize("make", [flipping, lambda i: np.random.default_rng().integers(0, 255, (8, 8), np.uint8)])
def test_images_that_change_are_noticed_and_nothing_is_claimed_of_their_contents(make):
    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate()
    with listening() as heard:
        dataset = open_data({"train": Own(make), "val": Own()})
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert "images of train are others each time" in heard[0] and len(heard) == 1
    assert dataset.split("train").changes and not dataset.split("val").changes
    assert dataset.fingerprint().startswith("targets:")
    assert dataset.recognised(dataset.fingerprint()) == "targets"
    assert isinstance(dataset.with_white_level(None).split("train"), ItemSplit)
    assert len(set(dataset.split("train").contents())) == 1  # of what is not known there are no copies


def test_what_is_drawn_in_evaluation_depends_on_the_place_alone():
    split = open_data(Own(flipping)).split("train")
    seen = [
        torch.cat([batch.images for batch in evaluation_loader(split, Preprocessing(size=8), size, workers)])
        for size, workers in ((12, 0), (5, 0), (4, 1))
    ]
    assert all(torch.equal(seen[0], other) for other in seen)


def test_items_that_raise_are_counted_and_images_that_can_t_be_read_stay_known():
    def make(place):
        return PIXELS[place] if place != 3 else 1 / 0

    with listening() as heard:
        dataset = open_data(Own(make))
    assert "1 of 12 items of train can't be read" in heard[0] and "item 3, ZeroDivisionError" in heard[0]
    assert len(dataset.split("train")) == 11 and dataset.split("train").name_of(3) == "train/4"
    split = open_data(Own(lambda i: b"no image" if i == 3 else PIXELS[i])).with_white_level(None).split("train")
    assert len(split) == 12
    with pytest.raises(DataError, match="train/3"):
        split[3]
    [batch] = evaluation_loader(split, Preprocessing(size=8), 12, 0)
    assert [one.file for one in batch.unreadable] == ["train/3"] and len(batch.images) == 11


def test_a_set_that_changes_its_targets_later_is_not_trained_on_the_old_ones():
    own = Own(lambda i: PIXELS[i][: 4 + i % 3])  # of several sizes, so that none are held
    split = open_data(own).split("train")
    own.label = lambda i: 0
    with pytest.raises(DataError, match="its target was 1 when all were read, and is 0 now"):
        split[1]


def test_deep_images_are_read_by_the_white_level_and_known_by_all_of_their_bits():
    deep = np.arange(12 * 64, dtype=np.uint16).reshape(12, 8, 8)
    dataset = open_data(Own(lambda i: deep[i]))
    assert len(set(dataset.split("train").contents())) == 12  # though the same few grey levels are left of them
    read = dataset.with_white_level(767.0).split("train")
    assert isinstance(read, ItemSplit) and read[11].image.max() == 255
    assert dataset.with_white_level(None).split("train")[11].image.max() < 5


def test_rows_of_0_and_1_are_several_classes_and_one_hot_ones_say_what_a_classifier_takes():
    rows = open_data(Own(label=lambda i: [1, i % 2]))
    assert rows.split("train").labels.shape == (12, 2)
    TASKS["multilabel"].check(rows, training=True)
    with pytest.raises(DataError, match="several classes an image"):
        TASKS["classify"].check(rows, training=True)
    one_hot = open_data(TensorDataset(tensors(), torch.eye(2)[torch.tensor(LABELS)]), ["a", "b"])
    with pytest.raises(DataError, match=r"int\(row.argmax\(\)\)"):
        TASKS["classify"].check(one_hot, training=True)
    with pytest.raises(DataError, match="rows of 0 and 1 in Python"):
        TASKS["multilabel"].check(open_data(Own()), training=False)


def test_what_no_other_process_can_be_given_is_read_in_this_one(monkeypatch):
    split = open_data(Own(lambda i: PIXELS[i][: 4 + i % 3])).split("train")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(split)
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr("moganet.data.loader.multiprocessing.get_context", lambda: spawn)
    with listening() as heard:
        loader: Loader = evaluation_loader(split, Preprocessing(size=8), 4, 2)
        assert sum(len(batch.images) for batch in loader) == 12
    assert "read in this process alone" in heard[-1]


def test_splits_of_several_kinds_are_joined():
    from moganet.inference.own_data import choose_split

    dataset = open_data({"train": Own(flipping), "test": Own(n=5)}).with_white_level(None)
    name, every = choose_split(dataset, "all")
    assert (name, len(every)) == ("all", 17) and torch.equal(every[14].image, tensors()[2])
    assert every.subset([14])[0].label == 0 and every.changes


def test_an_array_that_the_caller_writes_anew_for_each_image_is_not_kept():
    buffer = np.empty_like(PIXELS[0])

    def make(place):
        buffer[:] = PIXELS[place]
        return buffer

    dataset = open_data(Own(make))
    assert torch.equal(dataset.with_white_level(None).split("train").images, tensors())
    [batch] = evaluation_loader(dataset.split("train"), Preprocessing(size=(8, 10), crop_fraction=1.0), 12, 0)
    assert torch.equal(batch.images, tensors())


def test_a_data_set_is_read_by_other_processes_only_where_it_is_said_to_bear_that():
    read_in = []

    def make(place):
        read_in.append(place)
        return PIXELS[place][: 4 + place % 3]

    alone = open_data(Own(make)).split("train")
    for _ in evaluation_loader(alone, Preprocessing(size=8), 4, None):
        pass
    here = len(read_in)
    several = open_data(Own(make), workers=1).split("train")
    for _ in evaluation_loader(several, Preprocessing(size=8), 4, None):
        pass
    assert here >= 24 and len(read_in) - here < 24  # but for those that tell how long it takes
    assert several.contents() == alone.contents()
