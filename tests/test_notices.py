"""What is said reaches stderr's logger once a verb, and the verb's result."""

import logging

import pytest

import moganet
from moganet.notices import listening, noted, say
from moganet.results import Result


@noted
def inner() -> dict[str, object]:
    say("a guess")
    return {"value": 1}


@noted
def outer() -> dict[str, object]:
    result = inner()
    say("another", doubtful=True)
    inner()
    return {"inner": result}


def test_a_verb_gives_what_was_said_within_it_once(caplog):
    with caplog.at_level(logging.INFO, "moganet"):
        assert outer()["notes"] == ["a guess", "another"]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "a guess"),
        ("WARNING", "another"),
    ]


def test_verbs_do_not_hear_each_other():
    assert inner()["notes"] == ["a guess"]
    assert inner()["notes"] == ["a guess"]
    with listening() as heard:
        say("x %s {y}")
    assert heard == ["x %s {y}"]


def test_an_empty_result_stays_empty():
    assert noted(lambda: {})() == {} and noted(lambda: None)() is None


class Measured(Result):
    value: int


def test_a_typed_result_has_its_notes_and_those_of_before():
    @noted
    def verb() -> Measured:
        say("now")
        return Measured(value=1, notes=("before",))

    assert verb() == Measured(value=1, notes=("before", "now"))


NO_VERBS = {"build_network", "list_models", "load", "open_data", "MogaNet", "Prediction", "Predictor", "model"}


@pytest.mark.parametrize("name", sorted(set(moganet.__all__) - NO_VERBS))
def test_every_verb_gives_its_notes(name):
    assert hasattr(getattr(moganet, name), "__wrapped__"), f"{name} is not @noted"
