"""`tune`: a search that goes on after a crash as if there had been none, and outlives a trial that fails."""

import shlex

import pytest

import moganet
from moganet.errors import ConfigError, MissingExtraError
from moganet.tasks.recipes import load_recipe

TINY = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "data.fraction": 0.2,
    "trainer.max_epochs": 2,
}
RANGES = {"optimizer.lr": "1e-3..1e-1", "data.batch_size": [64, 100_000]}  # of which a step has too many images


class Crash(BaseException):
    """What no handler expects, as a kill would not be."""


def settings_of(found):
    return [(trial.number, trial.state, dict(trial.settings), trial.value) for trial in found.trials]


def test_a_search_goes_on_after_a_crash_and_outlives_trials_that_fail(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from moganet.training import run, study

    def crash(settings, dataset, folder, log, **how):
        def watch(epoch, figure):
            how["watch"](epoch, figure)
            raise Crash

        return run.train_to_end(settings, dataset, folder, log, **{**how, "watch": watch})

    monkeypatch.setattr(study, "train_to_end", crash)
    with pytest.raises(Crash):
        moganet.tune("digits", ranges=RANGES, overrides=TINY, trials=3, out=tmp_path / "t")
    monkeypatch.undo()
    found = moganet.tune("digits", ranges=RANGES, overrides=TINY, trials=3, out=tmp_path / "t")
    assert [trial.number for trial in found.trials] == [1, 2, 3]
    assert found.trials[0].settings == {"optimizer.lr": 0.002, "data.batch_size": 64}  # the recipe's own
    for trial in found.trials:
        assert trial.state == ("failed" if trial.settings["data.batch_size"] == 100_000 else "complete")
        assert ("fewer than one batch" in (trial.error or "")) == (trial.state == "failed")
    assert found.value == max(trial.value for trial in found.trials if trial.value is not None)
    states = {one.run: one.state for one in moganet.runs(tmp_path / "t").runs}
    assert set(states.values()) == {"finished"} and "trial-1" in states

    command = shlex.split(found.command)
    assert command[:3] == ["moganet", "train", "digits"]
    texts = [text for text in command[3:] if text != "--set"]
    expected = load_recipe("digits", {**TINY, **found.settings})
    assert load_recipe("digits", texts) == expected

    again = moganet.tune("digits", ranges=RANGES, overrides=TINY, trials=2, out=tmp_path / "t")
    assert settings_of(again) == settings_of(found)  # nothing is trained again
    with pytest.raises(ConfigError, match=r"holds another search: optimizer.weight_decay is 0.05 there and 0.1 here"):
        moganet.tune("digits", ranges=RANGES, overrides={**TINY, "optimizer.weight_decay": 0.1}, out=tmp_path / "t")


@pytest.mark.slow
def test_an_interrupted_search_is_the_one_that_never_was(tmp_path):
    pytest.importorskip("optuna")
    asked = {"ranges": {"optimizer.lr": "1e-4..1e-1"}, "overrides": TINY}
    whole = moganet.tune("digits", trials=9, out=tmp_path / "a", **asked)
    moganet.tune("digits", trials=4, out=tmp_path / "b", **asked)
    parts = moganet.tune("digits", trials=9, out=tmp_path / "b", **asked)
    assert settings_of(whole) == settings_of(parts) and (tmp_path / "a" / "tune.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"overrides": {"data.validation": "test"}}, "validates on test images"),
        ({"trials": 0}, "give a number from 1"),
        ({"ranges": ["optimizer.name=adamw,adamwx"]}, "there is no optimizer 'adamwx'"),
        ({"ranges": ["network=nano,tinny"]}, "there is no variant 'tinny'"),
    ],
)
def test_what_can_not_be_searched_is_said_before_anything_is_trained(how, said, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError, match=said):
        moganet.tune("digits", out=tmp_path / "t", **how)
    assert not (tmp_path / "t" / "trial-1").exists()


def test_a_file_that_is_no_study_is_left_as_it_is(tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "study.db").write_text("my notes")
    with pytest.raises(ConfigError, match=r"study\.db can't be used"):
        moganet.tune("digits", overrides=TINY, out=tmp_path)
    assert (tmp_path / "study.db").read_text() == "my notes"


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'moganet\[tune\]'"):
        moganet.tune("digits", out=tmp_path / "t")
