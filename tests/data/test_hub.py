"""Data sets of Hugging Face's package as a source: what is found in them, what is asked for, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_sources import make_folder

from moganet import open_data
from moganet.errors import DataError, MissingExtraError
from moganet.notices import listening

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def pictures(number=6):
    return [Image.new("RGB", (8, 8), (20 * i, 0, 0)) for i in range(number)]


def saved(path, features=None, **columns):
    types = datasets.Features({"image": datasets.Image(), **features}) if features is not None else None
    datasets.Dataset.from_dict({"image": pictures(), **columns}, features=types).save_to_disk(str(path))
    return path


NAMES = datasets.ClassLabel(names=["cat", "dog", "eel"])


@pytest.mark.parametrize(
    ("features", "columns", "class_names", "labels"),
    [
        ({"label": NAMES}, {"label": [0, 1, 2, 0, 1, 2]}, ("cat", "dog", "eel"), [0, 1, 2, 0, 1, 2]),
        ({"fine": NAMES, "id": datasets.Value("int64")}, {"fine": [1] * 6, "id": [*range(6)]}, NAMES.names, [1] * 6),
        ({"label": datasets.Value("int64")}, {"label": [10, 2, 2, 10, 2, 2]}, ("2", "10"), [1, 0, 0, 1, 0, 0]),
        ({"label": datasets.Value("string")}, {"label": ["b", "a"] * 3}, ("a", "b"), [1, 0] * 3),
        ({"tags": datasets.Sequence(NAMES)}, {"tags": [[0, 2], [], [1], [], [], []]}, NAMES.names, None),
    ],
)
def test_labels_are_found_by_their_types_and_names(features, columns, class_names, labels, tmp_path):
    dataset = open_data(f"hub:{saved(tmp_path / 'set', features, **columns)}")
    assert dataset.class_names == tuple(class_names) and open_data(str(tmp_path / "set")).spec == dataset.spec
    split = dataset.split("train")
    assert split[3].image.shape == (3, 8, 8) and split[3].image[0].unique().tolist() == [60]
    if labels is None:
        assert split.labels[:3].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    else:
        assert split.labels.tolist() == labels
    assert len(set(split.contents())) == 6 and dataset.fingerprint() == open_data(dataset.spec).fingerprint()


def test_splits_are_taken_by_their_names_or_said(tmp_path):
    one = datasets.Dataset.from_dict(
        {"image": pictures(), "label": [0, 1] * 3},
        features=datasets.Features({"image": datasets.Image(), "label": NAMES}),
    )
    none = one.map(lambda row: {"label": -1})
    datasets.DatasetDict({"train": one, "validation": one.select([3, 1]), "test": none}).save_to_disk(tmp_path / "a")
    with listening() as said:
        dataset = open_data(f"hub:{tmp_path / 'a'}")
    assert list(dataset.splits) == ["train", "val"] and any("no image of test" in line for line in said)
    assert dataset.split("val").labels.tolist() == [1, 1] and dataset.split("val")[0].image[0, 0, 0] == 60
    assert list(open_data(f"hub:{tmp_path / 'a'}?split=validation").splits) == ["train"]
    datasets.DatasetDict({"a": one, "b": one, "dev": one}).save_to_disk(tmp_path / "b")
    with listening() as said:
        assert list(open_data(f"hub:{tmp_path / 'b'}").splits) == ["train"]
    assert any("passed over: the splits a, b" in line for line in said)
    assert list(open_data(f"hub:{tmp_path / 'b'}?train=a&val=b").splits) == ["train", "val"]
    with pytest.raises(DataError, match=r"no split 'c'.*choose one of a, b, dev"):
        open_data(f"hub:{tmp_path / 'b'}?split=c")


def test_parquet_and_folders_are_loaded_by_the_package(tmp_path):
    root = make_folder(tmp_path / "photos")
    folder = open_data(f"hub:{root}")
    own = open_data(str(root))
    assert folder.class_names == own.class_names and folder.fingerprint() == own.fingerprint()
    datasets.Dataset.from_dict(
        {"image": pictures(), "label": [0, 1] * 3},
        features=datasets.Features({"image": datasets.Image(), "label": NAMES}),
    ).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    parquet = open_data(f"hub:{tmp_path / 'train-00000-of-00001.parquet'}")
    assert parquet.class_names == tuple(NAMES.names) and len(parquet.split("train")) == 6
    bare = datasets.Dataset.from_dict({"png": [b"x"] * 2, "label": ["a", "b"]})
    bare.to_parquet(tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="not an image"):
        open_data(f"hub:{tmp_path / 'bare.parquet'}").split("train")[0]


@pytest.mark.parametrize(
    ("columns", "query", "said"),
    [
        ({"a": [0] * 6, "b": [1] * 6}, "", r"which column of .* is the label\? .*a, b; say .*\?label=a"),
        ({"label": [0] * 6, "class": [1] * 6}, "", r"\?label=label"),
        ({"label": [0.5] * 6}, "", "neither a class's name nor its number"),
        ({"label": ["a", None] * 3}, "", "3 rows of train .* row 1; .*missing=skip"),
        ({"label": [None] * 6}, "", "no image of"),
        ({"label": [0] * 6}, "?label=lable", "did you mean 'label'"),
        ({"label": [0] * 6}, "?labels=label", "did you mean 'label'"),
        ({"label": [0] * 6}, "?split=train", "is not divided"),
        ({"label": [0] * 6}, "?label", "no column ''"),
        ({"label": [0] * 6}, "?split=a&train=b", "give one of both"),
    ],
)
def test_what_leaves_a_choice_is_asked_for(columns, query, said, tmp_path):
    with pytest.raises(DataError, match=said) as caught:
        open_data(f"hub:{saved(tmp_path / 'set', **columns)}{query}")
    assert "\n" not in str(caught.value)
    if "None" in str(columns) and "a" in columns["label"]:
        assert len(open_data(f"hub:{tmp_path / 'set'}?missing=skip").split("train")) == 3


def test_two_columns_of_images_are_asked_for(tmp_path):
    place = saved(tmp_path / "set", label=[0] * 6, mask=pictures())
    datasets.load_from_disk(str(place)).rename_column("image", "left").save_to_disk(str(tmp_path / "two"))
    with pytest.raises(DataError, match=r"is the image\? it may be left, mask; say .*\?image=left"):
        open_data(f"hub:{tmp_path / 'two'}")
    assert open_data(f"hub:{tmp_path / 'two'}?image=mask").split("train")[1].image[0, 0, 0] == 20


@pytest.mark.parametrize("name", ["no/such-set", "/no/such/folder"])
def test_what_is_not_there_is_one_line(name):
    with pytest.raises(DataError, match="can't be loaded") as caught:
        open_data(f"hub:{name}")
    assert "\n" not in str(caught.value)


def test_damage_and_a_missing_package_are_one_line(tmp_path, monkeypatch):
    place = saved(tmp_path / "set", label=[0] * 6)
    (place / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    with pytest.raises(DataError, match="can't be loaded") as caught:
        open_data(f"hub:{place}")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"moganet\[scale\]"):
        open_data(f"hub:{place}")


def test_rows_are_read_by_processes_and_written_into_shards(tmp_path):
    from moganet import make_shards
    from moganet.config import Preprocessing
    from moganet.data.module import evaluation_loader

    dataset = open_data(f"hub:{saved(tmp_path / 'set', {'label': NAMES}, label=[0, 1, 2] * 2)}")
    loader = evaluation_loader(dataset.split("train"), Preprocessing(size=(8, 8), crop_fraction=1.0), 2, 2)
    means = torch.cat([batch.images for batch in loader])[:, 0].float().mean((1, 2))
    loader.end()
    assert np.allclose(means, [0, 20, 40, 60, 80, 100])
    make_shards(dataset.spec, tmp_path / "shards")
    assert open_data(f"shards:{tmp_path / 'shards'}").fingerprint() == dataset.fingerprint()
