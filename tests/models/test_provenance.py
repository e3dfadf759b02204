"""A model file names its data; where that lies, only the run's own recipe says."""

import pytest

from moganet.errors import DataError
from moganet.models.provenance import source_on_this_machine, without_place, without_places


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("folder:/home/me/flowers", "folder:flowers"),
        ("folder:/home/me/flowers/", "folder:flowers"),
        ("folder:../flowers", "folder:flowers"),
        ("folder:~/flowers", "folder:flowers"),
        ("table:/home/me/a b.csv?root=/home/me/images&label=x/y", "table:a b.csv?root=images&label=y"),
        ("table:C:\\Users\\me\\a.csv", "table:a.csv"),
        ("\\\\server\\share\\flowers", "flowers"),
        ("/home/me/runs/one/best.safetensors", "best.safetensors"),
        ("cifar10:/data", "cifar10:data"),
        ("digits", "digits"),
        ("moganet_small.in1k", "moganet_small.in1k"),
        ("timm:resnet50", "timm:resnet50"),
        ("timm:resnet50@/home/me/x.pth", "timm:resnet50@x.pth"),
        ("folder:/", "folder:"),
        ("", ""),
        ("folder:/home/me/new\nline\udce9", "folder:new\nline\udce9"),
    ],
)
def test_a_place_becomes_its_last_name(text, name):
    assert without_place(text) == name and without_place(name) == name


def test_places_are_found_however_deep_and_other_texts_stay():
    kept = {"reason": "plain weights (the only ones in the file); and/or", "versions": {"torch": "2.9/x"}, "seed": 3}
    value = {**kept, "deep": [{"any": "/home/me/x", "source": "a/b"}], "file": "/home/me/x.pth"}
    assert without_places(value) == {**kept, "deep": [{"any": "x", "source": "b"}], "file": "x.pth"}


def test_the_runs_recipe_knows_the_place_and_else_it_is_asked_for(tmp_path):
    data, run = tmp_path / "flowers", tmp_path / "run"
    data.mkdir()
    run.mkdir()
    (run / "recipe.yaml").write_text(f"data: {{source: 'folder:{data}'}}\n")
    for model in (run, run / "best.safetensors", run / "best.onnx"):
        assert source_on_this_machine("folder:flowers", str(model)) == f"folder:{data}"
    for model in (tmp_path / "elsewhere.safetensors", "moganet_nano.digits"):
        with pytest.raises(DataError, match="give --data"):
            source_on_this_machine("folder:flowers", str(model))
    with pytest.raises(DataError, match="give --data"):  # another run's recipe
        source_on_this_machine("folder:leaves", str(run))
    assert source_on_this_machine("digits", str(run)) == "digits"
    assert source_on_this_machine(f"folder:{data}", "x") == f"folder:{data}"  # an older file, which says it


@pytest.mark.parametrize(
    "text", ["", "[", "1", "data: 3", "data: {source: 3}", "data: {source: [1]}", "a: " + "[" * 9999]
)
def test_a_recipe_that_is_none_is_passed_over(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(DataError, match="give --data"):
        source_on_this_machine("folder:flowers", str(tmp_path / "best.safetensors"))
