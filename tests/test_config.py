"""Recipes are read, overridden and checked, and mistakes are named."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moganet.config import Preprocessing, Recipe, list_recipes
from moganet.errors import ConfigError
from moganet.tasks.recipes import load_recipe


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_that_ships_is_valid_and_survives_a_round_trip(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "r.yaml") == recipe


def test_the_articles_recipe_has_its_published_settings():
    recipe = load_recipe("cifar10-224")
    assert recipe.network.name == "moganet_xtiny" and recipe.seed == 42
    assert recipe.preprocessing.size == (224, 224) and recipe.preprocessing.crop_mode == "squash"
    assert recipe.data.validation == "test" and recipe.data.batch_size == 128 and recipe.data.drop_last
    augment = recipe.augment
    assert (augment.crop, augment.color_jitter, augment.hflip) == ("resized", (0.2, 0.2, 0.2), 0.5)
    assert (augment.rotation, augment.mixup) == (20, 1.5)
    optimizer = recipe.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.decay_all) == ("adam", 1e-3, 1e-5, True)
    assert (recipe.schedule.name, recipe.schedule.warmup, recipe.schedule.min_lr) == ("cosine", 0, 0)
    assert recipe.trainer.max_epochs == 100 and recipe.loss.smoothing == 0.1


def test_overrides_are_yaml_and_reach_every_depth():
    recipe = load_recipe(
        "digits",
        ["seed=3", "trainer.max_steps=5", "optimizer.lr=1e-3", "network=xt", "augment.zoom=[0.5, 2]", "data=cifar10"],
    )
    assert (recipe.seed, recipe.trainer.max_steps, recipe.optimizer.lr) == (3, 5, 1e-3)
    assert recipe.network.name == "xt" and recipe.augment.zoom == (0.5, 2.0)
    assert recipe.data.source == "cifar10"
    assert load_recipe("digits", {"seed": 3}) == load_recipe("digits", ["seed=3"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'?"),
        ("sed=3", "did you mean 'seed'?"),
        ("optimiser.lr=1", "did you mean 'optimizer'?"),
        ("trainer.qqqq=1", "known: max_epochs"),
        ("max_epochs=3", "did you mean 'trainer.max_epochs'?"),
        ("epochs=3", "did you mean 'trainer.max_epochs'?"),
        ("lr=0.1", "did you mean 'optimizer.lr'?"),
        ("trainer.max_epochs=many", "trainer.max_epochs"),
        ("trainer.max_epochs=0", "trainer.max_epochs"),
        ("data.validation=perhaps", "data.validation"),
        ("network.gate=triple", "network.gate"),
        ("seed.deep=1", "'seed' is a single value"),
        ("seed", "KEY=VALUE"),
        ("seed=[1", "not valid YAML"),
        ("preprocessing.mean=[0.1, 0.2, 0.3]", "each of the 1 channels"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_remedy(override, said):
    with pytest.raises(ConfigError) as caught:
        load_recipe("digits", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("digit", None, "did you mean 'digits'?"),
        ("nowhere.yaml", None, "no recipe file"),
        ("list.yaml", "- 1", "must be a mapping"),
        ("broken.yaml", "a: [", "not valid YAML"),
        ("latin.yaml", b"name: \xe4", "UTF-8"),
        ("empty.yaml", "seed: 1", "data"),
    ],
)
def test_a_recipe_that_can_not_be_read_is_said(name, content, said, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        load_recipe(str(tmp_path / name) if name.endswith(".yaml") else name)


@given(st.lists(st.text(max_size=40), max_size=4))
def test_no_override_ends_in_anything_but_a_recipe_or_one_line(overrides):
    try:
        assert isinstance(load_recipe("digits", overrides), Recipe)
    except ConfigError as error:
        assert str(error)


@settings(max_examples=40)  # each loads a recipe; 100 take six seconds
@given(
    st.dictionaries(
        st.sampled_from(list(Recipe.model_fields)), st.recursive(st.none() | st.integers() | st.text(), st.lists)
    )
)
def test_no_yaml_ends_in_anything_but_a_recipe_or_one_line(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(values))
    try:
        assert isinstance(load_recipe(path), Recipe)
    except ConfigError as error:
        assert str(error)


def test_sizes_may_be_one_number_and_a_configuration_is_frozen():
    assert Preprocessing(size=32).size == (32, 32)
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("digits").seed = 1


def test_a_recipe_may_name_a_base_and_change_parts_of_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: digits\nnetwork: {stem_stride: 2}\ntrainer: {max_epochs: 3}\n")
    mine, base = load_recipe(tmp_path / "mine.yaml"), load_recipe("digits")
    assert mine.network.stem_stride == 2 and mine.network.name == base.network.name and mine.name == "mine"
    assert mine.trainer == base.trainer.changed(max_epochs=3)


def test_a_section_given_as_a_text_can_be_overridden(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: digits\nnetwork: tiny\n")
    assert load_recipe(tmp_path / "mine.yaml", ["network=small"]).network.name == "small"


def test_overrides_are_left_as_they_were():
    overrides = {"augment": {"hflip": 0.5}, "augment.rotation": 3}
    assert load_recipe("digits", overrides).augment.rotation == 3
    assert overrides == {"augment": {"hflip": 0.5}, "augment.rotation": 3}
