"""A mistyped name is answered with the one that is most like it."""

import pytest
from PIL import Image

from moganet.data import open_data
from moganet.engine.explain import find_class
from moganet.errors import ConfigError, DataError, choose_of, did_you_mean, nearest


@pytest.mark.parametrize(("given", "like"), [("tulip", "tulips"), ("Rosse", "roses"), ("DAISY", "daisy"), ("x", None)])
def test_a_class_is_proposed(given, like):
    names = ("daisy", "roses", "tulips")
    assert nearest(given, names) == like
    with pytest.raises(ConfigError) as error:
        find_class(given, names)
    assert (f"did you mean {like!r}?" in str(error.value)) == (like is not None) and "daisy, roses, tulips" in str(
        error.value
    )


def test_nothing_is_proposed_where_nothing_is_like_it():
    assert did_you_mean("zzz", ["train", "val"]) == "" and did_you_mean("", []) == ""
    assert choose_of("trian", ["train", "val"]) == "did you mean 'train'? choose one of train, val"
    assert nearest("a" * 10**6, ["a" * 90]) is not None


def test_paths_splits_and_columns_are_proposed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("roses", "tulips"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / folder / "x.png")
    (tmp_path / "labels.csv").write_text("path,species\n")
    for spec, like in (
        ("photo", "photos"),
        ("folder:photo", "photos"),
        ("table:label.csv", "labels.csv"),
        ("digit", "digits"),
        ("folder:photos?train=tulip", "tulips"),
    ):
        with pytest.raises(DataError, match=f"did you mean '{like}'"):
            open_data(spec)
    with pytest.raises(DataError, match="did you mean 'test'"):
        open_data("digits").split("tset")
