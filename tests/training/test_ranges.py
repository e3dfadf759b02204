"""What may be searched: ranges and choices by what the setting takes, and what is wrong with them in one line."""

import pytest

from moganet.errors import ConfigError
from moganet.tasks.recipes import load_recipe
from moganet.training.ranges import Choice, Range, read_spaces, usual_spaces


def read(*texts, given=()):
    return read_spaces(texts, lambda values: load_recipe("digits", values), given)


@pytest.mark.parametrize(
    ("text", "low", "high", "whole", "log"),
    [
        ("optimizer.lr=1e-4..1e-2", 1e-4, 1e-2, False, True),
        ("optimizer.lr=1e-3..5e-3", 1e-3, 5e-3, False, False),
        ("optimizer.lr=1e-3..5e-3:log", 1e-3, 5e-3, False, True),
        ("optimizer.lr = 1e-4..1e-2:linear", 1e-4, 1e-2, False, False),
        ("optimizer.weight_decay=0..1", 0, 1, False, False),
        ("data.batch_size=16..256", 16, 256, True, True),
        ("trainer.max_epochs=5..20", 5, 20, True, False),
        ("preprocessing.size=24..48", 24, 48, True, False),
        ("augment.rotation=0..30", 0, 30, False, False),
    ],
)
def test_a_range_is_of_the_settings_kind(text, low, high, whole, log):
    (space,) = read(text)
    assert space == Range(text.partition("=")[0].strip(), low, high, whole=whole, log=log)
    assert ("whole" in space.text()) == whole and ("log)" in space.text()) == log


def test_choices_are_values_of_any_kind():
    (one,) = read("schedule.name=cosine,constant")
    assert one.every() == ["cosine", "constant"]
    (pairs,) = read("augment.zoom=[0.9, 1.1],[0.8, 1.2]")
    assert pairs.every() == [[0.9, 1.1], [0.8, 1.2]]
    (flags,) = read("data.balanced=true,false")
    assert isinstance(flags, Choice) and flags.every() == [True, False]
    (values,) = read_spaces({"loss.smoothing": [0, 0.1]}, lambda v: load_recipe("digits", v), ())
    assert values.every() == [0, 0.1]
    (nothing,) = read("trainer.ema=null,0.9")
    assert nothing.every() == [None, 0.9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer.lr=1e-4..1e-2", "there is no setting 'trainer.lr'; did you mean 'optimizer.lr'?"),
        ("optimizer.lr=1e-2..1e-4", "the first number must be below the second"),
        ("optimizer.lr=1..nan", "both finite"),
        ("optimizer.lr=a..b", "must be numbers"),
        ("optimizer.lr=0..1", "greater than 0"),
        ("optimizer.weight_decay=0..1:log", "has no logarithm"),
        ("optimizer.lr=1e-3", "is one value"),
        ("optimizer.lr=", "must be KEY=LOW..HIGH"),
        ("optimizer.lr", "must be KEY=LOW..HIGH"),
        ("loss.smoothing=0.1,0.1", "all the same"),
        ("schedule.name=cosine,cosin", "schedule.name"),
        ("seed=0..9", "not be of the same images"),
        ("data.validation=0.1,0.2", "not be of the same images"),
    ],
)
def test_what_is_wrong_with_a_range_is_said(text, said):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_setting_is_given_once():
    with pytest.raises(ConfigError, match="given twice"):
        read("optimizer.lr=1e-4..1e-2", "optimizer.lr=1e-4..1e-3")
    with pytest.raises(ConfigError, match="given by --set too"):
        read("optimizer.lr=1e-4..1e-2", given=["optimizer.lr"])


def test_what_is_searched_by_default_lies_around_the_recipes_own():
    spaces = usual_spaces(load_recipe("digits"))
    assert [space.key for space in spaces] == ["optimizer.lr", "optimizer.weight_decay"]
    assert spaces[0].low == 2e-4 and spaces[0].high == 2e-2 and spaces[0].holds(2e-3) == 2e-3
    assert spaces[0].holds(1.0) is None and spaces[0].holds(None) is None
