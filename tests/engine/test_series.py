"""`train --folds` and `--seeds`: each image answered by a model that did not see it; what was stopped goes on."""

import csv

import numpy as np
import pytest

import moganet
from moganet.engine import series
from moganet.errors import ConfigError, TrainingError
from moganet.tasks.judged import mean_interval
from moganet.training.signals import RunStopped

TINY = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "data.batch_size": 100,
    "data.fraction": 0.2,
    "trainer.max_epochs": 1,
    "logger": "csv",
}


class Stopping:
    """Stands for `train`, and is stopped, or fails, at the runs of some names."""

    def __init__(self, real, at=(), error=None):
        self.real, self.at, self.error, self.names = real, at, error, []

    def __call__(self, recipe, data, overrides, out, **how):
        self.names.append(out.name)
        if out.name in self.at:
            raise self.error
        return self.real(recipe, data, overrides, out, **how)


def test_folds_answer_every_image_once_and_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    real = moganet.train
    stop = Stopping(real, ("fold-2",), RunStopped("the run is saved", 130))
    monkeypatch.setattr("moganet.engine.train.train", stop)
    with pytest.raises(RunStopped, match=r"stopped in fold-2; go on with .* --resume"):
        moganet.train_folds("digits", overrides=TINY, out=tmp_path / "f", folds=2)
    weights = (tmp_path / "f" / "fold-1" / "best.safetensors").stat().st_mtime_ns
    monkeypatch.setattr("moganet.engine.train.train", real)
    with pytest.raises(ConfigError, match="already holds fold-1; --resume goes on"):
        moganet.train_folds("digits", overrides=TINY, out=tmp_path / "f", folds=2)
    with pytest.raises(ConfigError, match="'1/2' there and '1/3' here"):
        moganet.train_folds("digits", overrides=TINY, out=tmp_path / "f", folds=3, resume=True)
    found = moganet.train_folds("digits", overrides=TINY, out=tmp_path / "f", folds=2, resume=True)
    assert (tmp_path / "f" / "fold-1" / "best.safetensors").stat().st_mtime_ns == weights  # it was left as it is

    with open(tmp_path / "f" / "out-of-fold.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    train = moganet.open_data("digits").split("train")
    assert [row["file"] for row in rows] == [train.name_of(place) for place in range(len(train))]
    assert [row["truth"] for row in rows] == [str(label) for label in train.labels.tolist()]
    right = np.array([int(row["right"]) for row in rows])
    assert found.out_of_fold.figure == pytest.approx(right.mean()) and found.out_of_fold.num_images == 1437
    for part, run in enumerate(found.runs, 1):
        mine = [row for row in rows if row["fold"] == str(part)]
        assert run.best == pytest.approx(np.mean([int(row["right"]) for row in mine]))  # measured again, on the same
        held = moganet.evaluate(run.out, split="val")
        assert held.num_images == len(mine) and held.top1 == pytest.approx(run.best)
    low, high = found.interval
    assert found.mean == pytest.approx(np.mean([run.best for run in found.runs])) and low < found.mean < high
    if found.doubtful is not None:
        assert {one.file for one in found.doubtful} <= {row["file"] for row in rows if not int(row["right"])}
    assert moganet.runs(tmp_path).runs[0].run.startswith("f/fold-")


def test_a_seed_that_fails_leaves_the_others_be(tmp_path, monkeypatch):
    failing = Stopping(moganet.train, ("seed-8",), TrainingError("the loss is not finite"))
    monkeypatch.setattr("moganet.engine.train.train", failing)
    overrides = [f"{key}={value}" for key, value in TINY.items()]
    found = moganet.train_seeds("digits", overrides=[*overrides, "seed=7"], out=tmp_path / "s", seeds=2)
    assert [run.name for run in found.runs] == ["seed-7", "seed-8"] == failing.names
    assert found.runs[1].error == "the loss is not finite" and found.runs[1].best is None
    assert found.best == "seed-7" and found.mean == found.runs[0].best and found.interval is None
    assert "the best is" in " ".join(found.lines())
    failing.at = ("seed-0", "seed-1")
    with pytest.raises(TrainingError, match="each of the 2 runs failed"):
        moganet.train_seeds(
            "digits",
            overrides=TINY,
            out=tmp_path / "t",
            seeds=2,
        )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"folds": 2, "overrides": {"data.validation": 0.1}}, "leave out data.validation"),
        ({"folds": 2, "overrides": {"trainer.devices": 2}}, "in one process at a time"),
        ({"folds": 1}, "give a number from 2"),
        ({"folds": 2, "resume": True, "out": None}, "say which with --out"),
    ],
)
def test_what_can_not_be_is_said_before_anything_is_trained(how, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        moganet.train_folds("digits", **{"out": tmp_path / "f", **how})
    assert not (tmp_path / "f").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"holds thesis\.txt; nothing is replaced"):
            series.train_seeds("digits", seeds=2, out=tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interval_of_a_mean_is_students():
    from scipy.stats import t

    values = [0.91, 0.93, 0.92, 0.9]
    expected = t.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert mean_interval(values) == pytest.approx(expected) and mean_interval([0.9]) is None
