"""train.log: what was said is kept, whoever hears it, and a run that goes on appends."""

import logging
import re
import warnings
from types import SimpleNamespace

import pytest
from test_train import TINY

import moganet
from moganet.errors import ConfigError
from moganet.results import Metric
from moganet.tasks.module import TaskModule
from moganet.training.callbacks import RunProgress
from moganet.training.run_log import LOG_FILE, logged

SMALL = {**TINY, "trainer.max_epochs": 2, "data.fraction": 0.1}
METRIC = Metric("top1", "top-1", "accuracy")
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


def test_a_run_that_was_stopped_goes_on_in_the_same_log(tmp_path, monkeypatch, capsys):
    out, original = tmp_path / "run", TaskModule.on_save_checkpoint

    def fails(self, checkpoint):
        if self.trainer.current_epoch == 1:
            raise RuntimeError("odd \x1b[31m thing")
        return original(self, checkpoint)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(TaskModule, "on_save_checkpoint", fails)
        moganet.train("digits", overrides=SMALL, out=out)
    first = (out / LOG_FILE).read_text()
    assert "Traceback" in first and "odd \\x1b[31m thing" in first and "\x1b" not in first
    moganet.train("digits", overrides=SMALL, out=out, resume=True)
    text = (out / LOG_FILE).read_text()
    assert text.startswith(first)
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("--- moganet")]) == 2
    assert all(re.match(STAMP, line) for line in lines if not line.startswith("---"))
    for said in (
        "training moganet_nano by",
        "going on with",
        "10 classes",
        "epoch 1/2",
        "epoch 2/2",
        "trained 2 epochs",
    ):
        assert said in text, said
    assert "epoch 2/2" in capsys.readouterr().err
    moganet.train("digits", overrides=SMALL, out=out, resume=True)  # it is finished, and left as it is
    assert (out / LOG_FILE).read_text() == text
    moganet.train("digits", overrides={**SMALL, "trainer.max_steps": 1}, out=out, overwrite=True)
    assert "Traceback" not in (out / LOG_FILE).read_text()


def test_a_run_that_never_begins_leaves_no_log(tmp_path):
    with pytest.raises(ConfigError):
        moganet.train("digits", overrides={**SMALL, "optimizer.name": "adamv"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_link_in_its_place_is_not_written_through(tmp_path, caplog):
    (tmp_path / "theirs").write_text("theirs")
    with logged() as log:
        (tmp_path / LOG_FILE).symlink_to(tmp_path / "theirs")
        log.begin(tmp_path)
        log.write("ours")
    assert (tmp_path / "theirs").read_text() == "theirs" and "no train.log is written" in caplog.text


def test_others_hear_what_they_would_have_heard(tmp_path, caplog):
    logger = logging.getLogger("moganet")
    logger.setLevel(logging.WARNING)  # as it is in Python, whatever a command asked for before
    before = logger.level, logger.propagate, list(logger.handlers)
    with logged() as log, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.begin(tmp_path)
        logger.info("unheard")
        logger.warning("heard")
        warnings.warn("warned", UserWarning, stacklevel=1)
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert [record.message for record in caplog.records] == ["heard"] and [str(one.message) for one in caught] == [
        "warned"
    ]
    text = (tmp_path / LOG_FILE).read_text()
    assert "unheard" in text and "warning: heard" in text


def test_an_epoch_without_validation_does_not_repeat_the_figures_of_the_one_before(capsys):
    kept = {"train/loss": 0.5, "val/loss": 0.25, "val/top1": 0.75}
    trainer = SimpleNamespace(callback_metrics=kept, current_epoch=0, max_epochs=9, is_global_zero=True, world_size=1)
    progress, module = RunProgress([METRIC]), SimpleNamespace(log=lambda *_, **__: None)
    for validates in (True, False, True):
        progress.on_train_epoch_start(trainer, module)
        if validates:
            progress.on_validation_end(trainer, module)
        progress.on_train_epoch_end(trainer, module)
    said = capsys.readouterr().err.splitlines()
    assert ["validation loss 0.2500 top1 75.00 %" in line for line in said] == [True, False, True]
    assert all("train loss 0.5000" in line for line in said)
