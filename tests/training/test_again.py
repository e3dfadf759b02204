"""The command by which a report says how to get a model again, read by the command's own parser."""

import shlex
from types import SimpleNamespace

import pytest
from PIL import Image
from test_tasks import make_masks

import moganet
import moganet_cli
from moganet.training.again import how_again
from moganet.training.resolve import prepare

VERSIONS = {"moganet": "1.0", "torch": "2.9.1+cpu", "timm": "1.0.20", "python": "3.11.2"}


@pytest.fixture
def resolved_by(monkeypatch):
    """Give what a command trains, and do not train it."""

    def run(text):
        seen = SimpleNamespace()
        monkeypatch.setattr("moganet.engine.train.train", lambda *args, **kwargs: vars(seen).update(a=args, k=kwargs))
        moganet, *words = shlex.split(text)
        with pytest.raises(SystemExit) as end:
            moganet_cli.main(words)
        assert moganet == "moganet" and not end.value.code
        recipe, data, changes, _ = seen.a
        return prepare(recipe, data, changes, seen.k["start"])[0]

    return run


def provenance(recipe, **more):
    return {"recipe": recipe.model_dump(mode="json"), "data": recipe.data.source, "versions": VERSIONS, **more}


@pytest.mark.parametrize(
    ("recipe", "data", "changes", "start"),
    [
        ("digits", None, {}, None),
        (
            "digits",
            "digits",
            {
                "trainer.max_epochs": 3,
                "optimizer.lr": 1e-5,
                "preprocessing.size": [32, 48],
                "network": "tiny",
                "seed": 7,
                "name": "it's a name; $HOME",
                "augment.auto_augment": "rand-m9-mstd0.5-inc1",
                "trainer.interactions_every": 2,
                "network.embed_dims": [8, 8, 16, 16],
                "network.depths": [1, 1, 1, 1],
                "schedule.milestones": [0.25, 0.5],
                "logger": "csv",
                "data.workers": 0,
                "trainer.clip_norm": None,
            },
            None,
        ),
        ("finetune", "digits", {"network": "nano", "data.batch_size": 16}, "none"),
        ("finetune", "digits", {"network": "nano", "start.freeze": 1}, "moganet_nano.cifar10"),
        ("digits", "digits", {"network": "timm:resnet18"}, "none"),
    ],
)
def test_the_command_gives_the_same_recipe(recipe, data, changes, start, resolved_by):
    wanted, _ = prepare(recipe, data, changes, start)
    again = how_again(provenance(wanted), ())
    assert again.where == "a shell" and "--data digits" in again.text and f"--seed {wanted.seed}" in again.text
    assert resolved_by(again.text) == wanted
    assert again.install == "pip install torch==2.9.1 timm==1.0.20 torchvision" and "python 3.11.2" in again.notes[0]


def test_names_of_folders_are_quoted_and_told(tmp_path, resolved_by, monkeypatch):
    folder = tmp_path / 'it\'s $(mine); "photos" ä'
    for split in ("train", "val"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (8, 8), (40 * i, 90, 20 * len(split))).save(folder / split / name / f"{i}.png")
    wanted, dataset = prepare("finetune", str(folder), {"network": "nano"}, "none")
    said = provenance(wanted) | {"data": f"folder:{folder.name}"}
    again = how_again(said, dataset.class_names)
    monkeypatch.chdir(tmp_path)
    found = resolved_by(again.text)
    assert found.data.source.endswith(folder.name) and found.changed(data=wanted.data) == wanted
    assert "Files and folders stand by their names: write where yours lie." in again.notes


def test_a_head_is_said_once(tmp_path, resolved_by):
    changes = {"network": "nano", "task.head.channels": 16, "augment.crop_size": 16}
    wanted, _ = prepare("segment", make_masks(tmp_path / "set"), changes, "none")
    again = how_again(provenance(wanted), ())
    assert "task.head.channels=16" in again.text and "network.head" not in again.text
    assert resolved_by(again.text) == wanted


def test_data_in_python_is_a_call(monkeypatch):
    wanted, _ = prepare("digits", None, {"trainer.max_epochs": 2})
    again = how_again(provenance(wanted) | {"data": "python:MyData"}, ("it's", "b"))
    calls = []
    monkeypatch.setattr(moganet, "train", lambda *args, **kwargs: calls.append((args, kwargs)))
    exec(again.text, {"data": "mine"})
    assert calls == [(("digits", "mine", {"seed": 0, "trainer.max_epochs": 2}), {"class_names": ["it's", "b"]})]
    assert again.where == "Python" and "your own data set (MyData)" in again.notes[0]


def test_where_too_little_is_known_nothing_is_made_up():
    assert how_again({}, ()).text == ""
    wanted, _ = prepare("digits", None, {})
    for odd in ("folder:\x1b[201~; ls", "folder:a\nls", "folder:\udcff"):
        hostile = how_again(provenance(wanted) | {"data": odd}, ())
        assert hostile.text == "" and "no command" in hostile.notes[0]
    unknown = {"recipe": {"name": "x", "later": 1, "data": {"source": "digits"}, "network": {"name": "moganet_nano"}}}
    assert how_again(unknown, ()).text == "" and "later" in how_again(unknown, ()).notes[0]


def test_a_lengthened_run_and_an_average_are_told_as_what_they_are(resolved_by):
    wanted, _ = prepare("digits", None, {"trainer.max_epochs": 5})
    history = [{"epochs": 2, "after_steps": 40}, {"epochs": 3, "after_steps": 60}]
    again = how_again(provenance(wanted, lengthened=history), ())
    found = [resolved_by(line) for line in again.text.splitlines()]
    assert [one.trainer.max_epochs for one in found] == [2, 3, 5] and found[-1] == wanted
    assert [("--resume" in line) for line in again.text.splitlines()] == [False, True, True]
    assert "2 epochs (at step 40)" in again.notes[0]
    average = how_again({**provenance(wanted), "averaged": [{"model": "a b"}, {"model": "c"}]}, ())
    assert shlex.split(average.text) == ["moganet", "average", "a b", "c"]
