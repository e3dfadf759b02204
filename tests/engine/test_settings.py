"""`settings`, its page, and settings by a word of their own."""

from pathlib import Path

import pytest

import moganet
from moganet.config import SHORT, list_recipes, with_short
from moganet.engine.settings import as_markdown
from moganet.errors import ConfigError
from moganet.tasks import TASKS
from moganet.tasks.recipes import load_recipe

SHAPE = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "data.fraction": 0.1}
DOCS = Path(moganet.__file__).parent.parent / "docs"


def leaves(values: dict, prefix: str = ""):
    for name, value in values.items():
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


def test_the_page_is_what_the_command_prints():
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    made = as_markdown(moganet.settings())
    assert page[page.index("## ") :].rstrip() == made.rstrip(), "moganet settings --markdown makes it"


def test_every_setting_of_every_task_is_there_with_a_meaning():
    found = moganet.settings().settings
    assert all(one.meaning.endswith((".", ")")) for one in found), [one.name for one in found if not one.meaning]
    names = {one.name for one in found}
    for recipe in TASKS:
        values = load_recipe(recipe if recipe in list_recipes() else "digits").model_dump()
        values["task"].pop("head", None)  # one of several kinds, each with options of its own
        assert set(leaves(values)) <= names
    assert {one.option for one in found} >= {f"--{word.replace('_', '-')}" for word in SHORT}
    assert set(SHORT.values()) <= names
    assert len({(one.name, one.task) for one in found}) == len(found)


@pytest.mark.parametrize("recipe", ["digits", "finetune", "multilabel", "imagenet-xtiny-a3"])
def test_a_recipes_values_are_its_own(recipe):
    loaded = load_recipe(recipe)
    for one in moganet.settings(recipe).settings:
        value = loaded
        for part in one.name.split("."):
            value = getattr(value, part)
        assert one.value == value, one.name


def test_a_word_is_looked_for_in_names_then_in_meanings_and_alone_it_is_no_recipe():
    assert [one.name for one in moganet.settings("digits", "max_epochs").settings] == ["trainer.max_epochs"]
    assert [one.name for one in moganet.settings("--batch-size").settings] == ["data.batch_size"]
    assert "optimizer.lr" in [one.name for one in moganet.settings("learning rate").settings]
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        moganet.settings("digits", "batchsize")


GIVEN = {"epochs": 2, "batch_size": 32, "lr": 1e-4, "size": 24, "seed": 3, "workers": 0, "network": "nano"}


def test_two_trainings_with_and_without_short_words_are_one(tmp_path):
    by_name = {"network" if word == "network" else SHORT[word]: value for word, value in GIVEN.items()}
    moganet.train("digits", overrides=SHAPE, out=tmp_path / "short", **GIVEN)
    moganet.train("digits", overrides={**by_name, **SHAPE}, out=tmp_path / "set")
    for name in ("recipe.yaml", "best.safetensors", "last.safetensors"):
        assert (tmp_path / "short" / name).read_bytes() == (tmp_path / "set" / name).read_bytes()
    recipe = load_recipe(tmp_path / "short" / "recipe.yaml")
    assert (recipe.trainer.max_epochs, recipe.data.batch_size, recipe.preprocessing.size) == (2, 32, (24, 24))
    log = (tmp_path / "short" / "train.log").read_text()
    assert "a step takes 32 images, 64 by the recipe; the learning rate is 0.0001, as asked" in log


@pytest.mark.parametrize(
    ("overrides", "word", "value"),
    [
        ({"trainer.max_epochs": 3}, "epochs", 2),
        ({"trainer": {"max_epochs": 3}}, "epochs", 2),
        (["trainer.max_epochs=3"], "epochs", 2),
        (["optimizer.lr=1e-3"], "lr", 1e-4),
        ({"preprocessing.size": [24, 32]}, "size", 24),
        ({"network": "small"}, "network", "tiny"),
        ({"network": {"name": "small"}}, "network", "tiny"),
        ({"network.name": "timm:resnet18"}, "network", "tiny"),
    ],
)
def test_two_that_differ_are_refused(overrides, word, value):
    with pytest.raises(ConfigError, match="give one of the two"):
        with_short(overrides, {word: value})


def test_two_that_agree_are_one():
    for overrides, word, value in (
        (["trainer.max_epochs=3"], "epochs", 3),
        (["optimizer.lr=1e-3"], "lr", 0.001),
        ({"preprocessing.size": [24, 24]}, "size", 24),
        ({"network.name": "moganet_tiny"}, "network", "tiny"),
    ):
        recipe = load_recipe("digits", with_short(overrides, {word: value}))
        assert recipe == load_recipe("digits", overrides)
    with pytest.raises(TypeError, match="epoch"):
        moganet.train("digits", epoch=3)


def test_another_network_does_not_get_the_shape_of_the_recipes_own(caplog):
    caplog.set_level("INFO", "moganet")
    for overrides in ({"network": "tiny"}, ["network=tiny"], with_short((), {"network": "tiny"})):
        network = load_recipe("cifar10", overrides).network
        assert network.name == "tiny" and network.embed_dims is None and network.stem_stride == 2
    assert "left out for tiny" in caplog.text
    assert load_recipe("cifar10", {"network": "nano"}).network.embed_dims == (32, 96, 128, 160)
    own = {"network.embed_dims": [8, 8, 16, 16], "network": "tiny"}
    assert load_recipe("cifar10", own).network.embed_dims == (8, 8, 16, 16)


def test_what_becomes_of_the_learning_rate_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "moganet")
    small = {**SHAPE, "optimizer.lr_per": 64, "trainer.accumulate": 2, "trainer.max_steps": 1}
    moganet.train("digits", overrides=small, out=tmp_path / "run", batch_size=16, lr=0.01)
    assert (
        "a step takes 32 images (2 parts of 16); the learning rate 0.01 is meant for 64, so it is 0.005" in caplog.text
    )
