"""A folder is taken for what it plainly is; where its names leave a choice, it is refused with what to say."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import moganet
from moganet.data import UnusableDataError, folder, open_data
from moganet.errors import DataError
from moganet.notices import listening
from moganet.tasks import TASKS


def put(place, number=2, first=0, name="{}.png"):
    """Put some different pictures into a folder."""
    place.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + number):
        seed = abs(hash((place.name, i))) % 2**32
        pixels = np.random.RandomState(seed).randint(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / name.format(i), "PNG")


def put_classes(root, *places, classes=("daisy", "roses")):
    for place in places:
        for name in classes:
            put(root / place / name)
    return root


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def opened_to_train(spec):
    dataset = open_data(spec)
    TASKS["classify"].check(dataset, training=True)
    return dataset


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), "train val test"),
        (("Train", "Test"), "train test"),
        (("training", "testing"), "train test"),
        (("seg_train", "seg_test"), "train test"),
        (("TRAINING SET", "Validation-Set"), "train val"),
        (("01_train", "02_dev", "03_eval"), "train val test"),
        (("trainImages2017", "valImages2017"), "train val"),
        (("train_images", "holdout"), "train test"),
    ],
)
def test_any_usual_names_of_splits_are_taken_and_unusual_ones_said(tmp_path, folders, splits):
    dataset = open_data(str(put_classes(tmp_path, *folders)))
    assert sizes(dataset) == dict.fromkeys(splits.split(), 4) and dataset.class_names == ("daisy", "roses")
    usual = set(folders) <= {"train", "val", "test"}
    assert usual == (dataset.notes == ())
    for name in () if usual else folders:
        assert f"{name}/" in " ".join(dataset.notes) and "split=none" in " ".join(dataset.notes)


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("val", "test"), "no train/.*train=NAME"),
        (("train", "val", "valid"), "val/, valid/.*val=val.*val=valid"),
        (("Train", "train"), "Train/, train/.*train=train"),
        (("2019", "2020"), "same sub-folders.*daisy, roses.*train=2019&val=2020.*split=none"),
        (("a/train", "a/val", "b/train", "b/val"), "a holds train, val.*--data .*/a"),
        (("data/train", "data/val"), "one class, 'data'.*train, val.*--data .*/data"),
        (("train/images", "val/images"), "one class, 'images'.*train=train/images&val=val/images"),
        (("photos",), "one class, 'photos'.*daisy, roses.*--data .*/photos"),
        (("x/y/photos",), "one class, 'x'.*--data .*/x/y/photos"),
    ],
)
def test_what_leaves_a_choice_is_refused_with_what_to_say(tmp_path, folders, said):
    with pytest.raises(DataError, match=f"(?s){said}") as caught:
        opened_to_train(str(put_classes(tmp_path, *folders)))
    assert "\n" not in str(caught.value)


def test_the_remedies_that_are_named_work(tmp_path):
    root = put_classes(tmp_path / "a b", "2019", "2020")
    told = open_data(f"folder:{root}?train=2019&val=2020")
    assert sizes(told) == {"train": 4, "val": 4} and open_data(told.spec).fingerprint() == told.fingerprint()
    assert open_data(f"{root}?split=none").class_names == ("2019", "2020")
    deep = put_classes(tmp_path / "deep", "train/images", "val/images")
    assert sizes(open_data(f"folder:{deep}?train=train/images&val=val/images")) == {"train": 4, "val": 4}
    flat = put_classes(tmp_path / "flat", "train")
    put(flat / "val")
    with pytest.raises(DataError, match=r"val has 2 images but no class folders.*val=none"):
        open_data(str(flat))
    left = open_data(f"folder:{flat}?val=none")
    assert sizes(left) == {"train": 4} and "no split passed over: 2" in " ".join(left.notes)


QUERIES = ["train=nowhere", "val=../..", "colour=red", "train=none", "split=daisy"]
TWICE = ["train=train&train=train", "val=none&val=train", "split=none&train=train", "train=train&split=none"]


@pytest.mark.parametrize("query", QUERIES + TWICE)
def test_a_query_that_means_nothing_is_refused(tmp_path, query):
    with pytest.raises(DataError):
        open_data(f"folder:{put_classes(tmp_path, 'train')}?{query}")


def test_names_with_signs_of_queries_are_names(tmp_path):
    root = put_classes(tmp_path / "what? 100%", "a+b=c", "d%20e")
    assert sizes(open_data(str(root) + "?train=a+b=c&test=d%20e")) == {"train": 4, "test": 4}
    assert open_data(f"folder:{root}/a+b=c").class_names == ("daisy", "roses")


def test_flat_folders_called_like_splits_are_classes_beside_others_only(tmp_path):
    put(tmp_path / "a" / "test")
    put(tmp_path / "a" / "control")
    dataset = open_data(str(tmp_path / "a"))
    assert dataset.class_names == ("control", "test") and "test/" in dataset.notes[0]
    put(tmp_path / "b" / "train")
    put(tmp_path / "b" / "test")
    with pytest.raises(DataError, match=r"named like splits.*split=none"):
        open_data(str(tmp_path / "b"))
    put(tmp_path / "c" / "freight train")
    put(tmp_path / "c" / "steam train")
    assert open_data(str(tmp_path / "c")).class_names == ("freight train", "steam train")
    put_classes(tmp_path / "d", "train", classes=("steam", "diesel"))
    put(tmp_path / "d" / "bus")
    with pytest.raises(DataError, match=r"beside bus/.*train=train.*split=none"):
        open_data(str(tmp_path / "d"))


def test_one_folder_called_like_a_split_beside_others_is_a_choice(tmp_path):
    root = put_classes(tmp_path, "train", "car", "bus", classes=("red", "blue"))
    with pytest.raises(DataError, match=r"beside bus/, car/.*train=train.*split=none"):
        open_data(str(root))
    assert open_data(f"{root}?split=none").class_names == ("bus", "car", "train")
    assert open_data(f"folder:{root}?train=train").class_names == ("blue", "red")


@pytest.mark.parametrize("table", ["labels.csv", "data/train-0.parquet", "y.TSV"])
@pytest.mark.parametrize("images", [None, "images", "."])
def test_a_table_that_may_have_the_classes_is_named(tmp_path, table, images):
    (tmp_path / table).parent.mkdir(exist_ok=True)
    (tmp_path / table).write_text("path,label\n")
    if images:
        put(tmp_path / images)
    with pytest.raises(DataError, match=rf"if .*{table} has a class for each image, give --data .*{table}"):
        opened_to_train(str(tmp_path))


def test_a_known_set_within_a_folder_of_other_things_is_said(tmp_path, monkeypatch):
    put_classes(tmp_path, ".")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).touch()
    for given, said in ((tmp_path, True), (folder, False)):
        with listening() as heard, pytest.raises(DataError, match="not a whole cifar10"):
            open_data(str(given))
        assert any("not looked at: daisy, roses" in line and "folder:" in line for line in heard) == said


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_one_class_in_both_of_its_forms(tmp_path, form):
    for split, this in (("train", "NFC"), ("val", "NFD")):
        put_classes(tmp_path, split, classes=(unicodedata.normalize(this, "Pâquerette"), "roses"))
    put(tmp_path / "train" / unicodedata.normalize(form, "Gänseblümchen"))
    put(tmp_path / "val" / unicodedata.normalize("NFC", "Gänseblümchen"))
    dataset = open_data(str(tmp_path))
    assert dataset.class_names == ("Gänseblümchen", "Pâquerette", "roses")
    assert sizes(dataset) == {"train": 6, "val": 6}


def test_classes_that_differ_are_shown_as_they_differ(tmp_path):
    put_classes(tmp_path, "train", classes=("Daisy", "roses", "kale"))
    put_classes(tmp_path, "val", classes=("daisy", "roses"))
    with pytest.raises(UnusableDataError, match="'daisy' is 'Daisy' there") as caught:
        open_data(str(tmp_path))
    assert "no images of Daisy, kale" in " ".join(caught.value.dataset.notes)
    put_classes(tmp_path / "alike", "x", classes=("oak", "Oak ", "o\u200bak", "ash"))
    assert any(
        "'o\\u200bak'" in note and "'Oak '" in note for note in moganet.doctor(str(tmp_path / "alike/x"))["notes"]
    )


def test_folders_that_moganet_wrote_are_no_classes(tmp_path, trained_run):
    root = put_classes(tmp_path, ".")
    before = open_data(str(root)).fingerprint()
    (root / "mine").symlink_to(trained_run)
    (root / "runs").mkdir()
    for name in ("finetune-1", "finetune-2"):
        (root / "runs" / name).symlink_to(trained_run)
    (root / "evaluation-test").mkdir()
    (root / "evaluation-test" / "evaluation.json").write_text("{}")
    put(root / "evaluation-test", 1, name="confusion.png")
    dataset = open_data(str(root))
    assert dataset.class_names == ("daisy", "roses") and dataset.fingerprint() == before
    assert [note for note in dataset.notes if "moganet wrote passed over: 4" in note] and len(dataset.notes) == 1


def test_one_class_can_be_measured_but_not_trained_on(tmp_path):
    put(tmp_path / "daisy")
    assert open_data(str(tmp_path)).class_names == ("daisy",)
    with pytest.raises(DataError, match="one class, 'daisy', where a classifier needs two"):
        moganet.train("digits", str(tmp_path), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_place_that_holds_no_set_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_classes(tmp_path / "photos", ".")
    put(tmp_path / "only", name="{}.png")
    os.mkfifo("pipe.csv")
    for name in ("set.zip", "set.tar.gz", "table.xlsx", "notes.txt"):
        Path(name).write_text("x")
    cases = {
        "": "neither a path nor a data source",
        "nowhere": "neither a path nor a data source",
        "C:\\photos": "neither a path nor a data source",
        " photos": "leave out the spaces",
        "a\0b": "neither a path nor a data source",
        "x" * 5000: "neither a path nor a data source",
        "~nobody-of-this-name/photos": "neither a path nor a data source",
        "https://example.org/photos.zip": "download it",
        "pipe.csv": "a pipe",
        "set.zip": "an archive: unpack it",
        "set.tar.gz": "an archive: unpack it",
        "only/0.png": "one image",
        "table.xlsx": "save it as CSV",
        "notes.txt": "can't tell what",
        "folder:": "needs a path",
        "folder:notes.txt": "is no folder",
        "folder:nowhere": "there is no folder",
        "only": "2 images but no class folders",
    }
    for spec, said in cases.items():
        with pytest.raises(DataError, match=said) as caught:
            open_data(spec)
        assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "~x").mkdir()
    for spec in ("photos/", "./photos", "folder:photos", "folder:photos/", Path("photos")):
        assert open_data(spec).class_names == ("daisy", "roses")
    put_classes(tmp_path / "~x", ".")
    assert len(open_data("~x").split("train")) == 4


def test_a_source_beside_a_folder_of_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_classes(tmp_path / "digits", ".")
    result = moganet.doctor("./digits")
    assert result["data"]["splits"]["train"] == {"daisy": 2, "roses": 2}
    assert any("./digits" in note for note in moganet.doctor("digits")["notes"])


def test_the_names_of_splits_that_the_documents_give_are_no_guess():
    assert set(folder.DOCUMENTED) == {"train", "val", "test"}
