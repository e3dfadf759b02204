"""`runs`: what became of each run below a folder, told by its files and its lock."""

import json
import os
import shutil

import pytest
from filelock import FileLock

import moganet
from moganet.errors import ConfigError, OutputError
from moganet.training.run_folder import LOCK_FILE


def unfinish(run):
    (run / "result.json").unlink()


def fail(run):
    unfinish(run)
    (run / "failure.json").write_text(json.dumps({"error": "the loss is not finite", "kind": "TrainingError"}))


def cut(name):
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-9])


def write(name, text):
    return lambda run: (run / name).write_text(text)


def lose(*names):
    return lambda run: [(run / name).unlink() for name in names]


def pipe(name):
    def make(run):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


STATES = {
    "finished": (lambda run: None, "finished", None),
    "stopped": (unfinish, "stopped", None),
    "failed": (fail, "failed", "the loss is not finite"),
    "cut-weights": (cut("best.safetensors"), "damaged", "best.safetensors is no whole"),
    "cut-checkpoint": (lambda run: (unfinish(run), write("last.ckpt", "x")(run)), "damaged", "no whole checkpoint"),
    "no-weights": (lose("best.safetensors"), "damaged", "best.safetensors is missing"),
    "no-checkpoint": (lose("result.json", "last.ckpt"), "damaged", "last.ckpt is missing"),
    "odd-result": (write("result.json", "[]"), "damaged", "result.json is not what a run writes"),
    "odd-recipe": (write("recipe.yaml", "a: [1"), "damaged", "recipe recipe.yaml is not valid YAML"),
    "no-recipe": (lose("recipe.yaml"), "damaged", "recipe.yaml is missing"),
    "odd-metrics": (write("metrics.csv", "epoch,val/top1\n1,x\n"), "damaged", "metrics.csv can't be read"),
    "pipe-weights": (pipe("best.safetensors"), "damaged", "best.safetensors is no whole"),
    "pipe-recipe": (pipe("recipe.yaml"), "damaged", "recipe.yaml is missing"),
}


@pytest.fixture(scope="module")
def folder(trained_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, (change, _, _) in STATES.items():
        change(shutil.copytree(trained_run, root / "deep" / name))
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text("x")
    logs = root / "lightning_logs" / "version_0"  # which name their files alike
    logs.mkdir(parents=True)
    (logs / "metrics.csv").write_text("epoch,step\n1,2\n")
    (logs / "hparams.yaml").write_text("{}")
    (root / "cook").mkdir()
    (root / "cook" / "recipe.yaml").write_text("soup: leek")
    (root / "deep" / "circle").symlink_to(root)
    (root / "empty").mkdir()
    return root


def test_each_run_is_what_its_files_say(folder):
    found = {run.run.removeprefix("deep/"): run for run in moganet.runs(folder).runs}
    assert found.keys() == STATES.keys()
    for name, (_, state, reason) in STATES.items():
        assert (name, found[name].state) == (name, state)
        assert reason in found[name].reason if reason else found[name].reason is None
    run = found["finished"]
    assert (run.task, run.network, run.data, run.epochs, run.of_epochs) == ("classify", "moganet_nano", "digits", 3, 3)
    assert run.best == found["stopped"].best > 0.5 and run.metric == "top1" and run.seconds > 0 and run.bytes > 10_000


def test_folders_without_a_run_are_named_once(folder):
    found = {one.file: one.reason for one in moganet.runs(folder).foreign}
    assert found.keys() == {"notes", "lightning_logs", "cook", "empty"}
    assert "recipe.yaml is no run's" in found["cook"] and found["empty"] == "it is empty"


def test_a_run_at_work_is_told_by_its_lock_which_stays_as_it_is(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    unfinish(run)
    (run / LOCK_FILE).touch()  # as a killed process leaves it
    assert moganet.runs(run).runs[0].state == "stopped"
    lock = FileLock(run / LOCK_FILE)
    with lock:
        (one,) = moganet.runs(tmp_path).runs
        assert one.state == "running" and lock.is_locked
    (tmp_path / "new").mkdir()
    with FileLock(tmp_path / "new" / LOCK_FILE):  # it has not even a recipe
        assert {one.run: one.state for one in moganet.runs(tmp_path).runs} == {"run": "stopped", "new": "running"}


def test_runs_are_sorted_by_any_column(folder):
    for column in ("run", "state", "best", "bytes", "size", "updated", "reason"):
        if column == "reason":
            with pytest.raises(ConfigError, match="there is no column 'reason'"):
                moganet.runs(folder, sort=column)
            continue
        some = [run.get(column) for run in moganet.runs(folder, sort=column).runs]
        known = [value for value in some if value is not None]
        assert some[: len(known)] == known  # what is not known comes last
        assert known == sorted(known, reverse=column in ("best", "updated"))
        back = [run.get(column) for run in moganet.runs(folder, sort=column, reverse=True).runs]
        assert back[: len(known)] == known[::-1]


def test_trials_are_in_the_order_of_their_numbers(trained_run, tmp_path):
    for name in ("trial-10", "trial-9", "Trial-1"):
        shutil.copytree(trained_run, tmp_path / name)
    names = [run.run for run in moganet.runs(tmp_path, sort="run").runs]
    assert names == ["Trial-1", "trial-9", "trial-10"]


def test_what_is_no_folder_is_said(tmp_path):
    with pytest.raises(OutputError, match="is not there; `moganet train` makes it"):
        moganet.runs(tmp_path / "runs")
    with pytest.raises(ConfigError, match="did you mean 'best'"):
        moganet.runs(tmp_path, sort="bst")
    assert moganet.runs(tmp_path).runs == ()
