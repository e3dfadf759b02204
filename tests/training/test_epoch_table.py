"""metrics.csv: one row an epoch, however a run went, and files of before are read as well."""

import csv

import pytest
from test_train import TINY

import moganet
from moganet.errors import DataError
from moganet.tasks.module import TaskModule
from moganet.training.epoch_rows import read_rows
from moganet.training.origin import read_metrics

# Of a run of before: rates stood apart, at the step at which their epoch began, and epochs counted from 0.
OLD = """epoch,lr/pg1,lr/pg2,step,train/loss,val/loss
,4e-05,5e-05,0,,
0,,,389,,2.5
0,,,389,1.9,
,0.0007,0.0008,390,,
1,,,779,1.6,
,0.001,0.002,780,,
"""


class Crash(BaseException):
    """What no handler expects."""


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_file_of_before_is_read_as_one_row_an_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text(OLD)
    assert list(read_rows(OLD)) == [1, 2, 3]
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert metrics["train/loss"] == {0: 1.9, 1: 1.6} and metrics["val/loss"] == {0: 2.5}
    assert metrics["lr"] == {0: 4e-05, 1: 0.0007, 2: 0.001} and metrics["lr/pg2"][2] == 0.002 and "step" not in metrics


@pytest.mark.parametrize("text", ["", "epoch\n", "\0\1", "a,b\n1,2\n"])
def test_what_is_no_table_has_no_figures(text):
    assert not read_rows(text)


def test_odd_tables_end_in_an_error_of_ours(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n" + "x" * 200_000)
    with pytest.raises((DataError, ValueError)):
        read_metrics(tmp_path / "metrics.csv")


def test_a_run_that_dies_within_an_epoch_goes_on_in_the_same_rows(tmp_path, monkeypatch):
    out = tmp_path / "run"
    overrides = {**TINY, "trainer.max_epochs": 3, "trainer.validate_every": 2, "data.fraction": 0.1}
    original, calls = TaskModule.training_step, []

    def step(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 14:  # within the second epoch of ten steps
            raise Crash
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(TaskModule, "training_step", step)
        moganet.train("digits", overrides=overrides, out=out)
    assert [row["epoch"] for row in rows_of(out / "metrics.csv")] == ["1"]
    result = moganet.train("digits", overrides=overrides, out=out, resume=True)
    rows = rows_of(out / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and all(row["lr/pg1"] for row in rows)
    assert [bool(row["val/loss"]) for row in rows] == [False, True, True]  # the last one is
    assert all(row["train/loss"] for row in rows) and result.last is not None and result.last["epoch"] == 3
