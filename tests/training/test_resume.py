"""A run that was stopped, killed or starved goes on to the very weights of a run that never was."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from own_process import command
from test_sources import make_folder

import moganet
from moganet.errors import ConfigError, MogaNetError, OutputError, TrainingError, WeightsError
from moganet.tasks.classify.training import Classification
from moganet.tasks.module import CHECK_EVERY
from moganet.tasks.recipes import load_recipe
from moganet.training.checkpoints import Checkpoints
from moganet.training.signals import STOP_SIGNALS, RunStopped

TINY = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "network.drop_path_rate": 0.2,
    "trainer.accumulate": 1,
    "trainer.max_epochs": 2,
    "trainer.save_every": 1e-9,
    "data.batch_size": 100,
    "data.fraction": 0.5,
}
EVERYTHING = {
    **TINY,
    "network.drop_rate": 0.1,
    "augment.mixup": 0.5,
    "augment.rotation": 10,
    "augment.hflip": 0.5,
    "augment.hflip_by_turns": True,
    "trainer.ema": 0.9,
    "trainer.accumulate": 2,
    "data.drop_last": False,
}
PHOTOS = {
    **TINY,
    "preprocessing": {"size": 32},
    "augment": {"crop": "resized", "hflip": 0.5, "cutmix": 1.0},
    "data.validation": None,
    "data.fraction": 1.0,
    "data.batch_size": 8,
    "data.workers": 2,
}
POLICY = {**PHOTOS, "augment": {"crop": "resized", "auto_augment": "rand-m7-mstd0.5-inc1", "erasing": 0.3}}
OTHERS = {
    **TINY,
    "data.balanced": True,
    "optimizer.name": "sgd",
    "schedule.name": "step",
    "trainer.early_stop": 1,
    "trainer.max_epochs": 3,
    "loss.name": "bce",
}
STEPS = {**EVERYTHING, "trainer.max_steps": 9, "trainer.max_epochs": 9}  # ends within the third epoch
RUNS = {"everything": EVERYTHING, "photos": PHOTOS, "policy": POLICY, "others": OTHERS, "steps": STEPS}


class Crash(BaseException):
    """What no handler expects, as a kill would not be."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), ("train", "val"), 22)


def outcome(out: Path) -> dict[str, object]:
    """Give what must not depend on interruptions: both model files, and the rows of metrics.csv but for the speed."""
    with open(out / "metrics.csv", newline="") as file:
        rows = [
            {name: value for name, value in row.items() if "per_second" not in name} for row in csv.DictReader(file)
        ]
    return {"rows": rows, **{name: (out / f"{name}.safetensors").read_bytes() for name in ("best", "last")}}


def crash_at(monkeypatch, method: str, number: int) -> None:
    """Let the number-th call of a step crash."""
    original, calls = getattr(Classification, method), []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == number:
            raise Crash
        return original(self, *arguments)

    monkeypatch.setattr(Classification, method, step)


def crashes(monkeypatch, method: str, number: int, **options) -> bool:
    """Train until the number-th call of a step, and tell whether there was one."""
    with monkeypatch.context() as patch:
        crash_at(patch, method, number)
        try:
            moganet.train("digits", **options)
        except Crash:
            return True
        return False


# By `make test-slow`: "steps" is "everything" with an end within an epoch, at which `trained` ends too.
SWEPT = ("everything", "others", "policy")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SWEPT else ()) for name in RUNS])
def test_a_run_that_dies_again_and_again_ends_as_if_it_had_not(name, photos, tmp_path, monkeypatch):
    options = {"overrides": RUNS[name], "data": str(photos) if RUNS[name] in (PHOTOS, POLICY) else None}
    moganet.train("digits", **options, out=tmp_path / "whole")
    lives, batches = 0, 7 if RUNS[name]["trainer.accumulate"] > 1 else 5
    while crashes(monkeypatch, "training_step", batches, **options, out=tmp_path / "broken", resume=True):
        lives += 1
    assert lives >= 2
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert not list((tmp_path / "broken").glob(".*"))


def test_sigterm_in_the_last_step_lets_the_run_end(tmp_path, monkeypatch):
    overrides = {**EVERYTHING, "trainer.max_steps": 3}
    moganet.train("digits", overrides=overrides, out=tmp_path / "whole")
    original = Classification.training_step

    def step(self, batch, batch_idx):
        if batch_idx == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    moganet.train("digits", overrides=overrides, out=tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("where", "method", "kept"),
    [
        (Classification, "configure_optimizers", "stopped at once, without a save"),  # before the first step
        (Classification, "training_step", "the run is saved after 1 steps"),
        # A launcher's, to those whose job has lost one.
        (Checkpoints, "on_exception", "stopped at once, without a save"),
    ],
)
def test_sigterm_ends_a_run_with_its_line_whenever_it_comes(where, method, kept, tmp_path, monkeypatch):
    original = getattr(where, method)

    def killed(self, *arguments):
        result = original(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    def failing(self, batch, batch_idx):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(where, method, killed)
    if method == "on_exception":
        monkeypatch.setattr(Classification, "training_step", failing)
    handlers = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(RunStopped, match=f"{kept}; go on with .* --resume") as stopped:
        moganet.train("digits", overrides=TINY, out=tmp_path / "run")
    assert stopped.value.exit_code == 143
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == handlers


def test_a_run_outside_the_main_thread(tmp_path):
    with ThreadPoolExecutor() as pool:
        result = pool.submit(moganet.train, "digits", overrides={**TINY, "trainer.max_steps": 1}, out=tmp_path / "run")
    assert result.result()["steps"] == 1


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("training_step", 1),
        pytest.param("validation_step", 1, marks=pytest.mark.slow),
        ("validation_step", 4),
    ],
)
def test_so_does_one_that_dies_at_its_beginning_or_while_it_validates(method, number, trained, tmp_path, monkeypatch):
    options = {"overrides": EVERYTHING, "out": tmp_path / "run"}
    assert crashes(monkeypatch, method, number, **options)
    moganet.train("digits", **options, resume=True)
    assert outcome(tmp_path / "run") == outcome(trained)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Give a finished run of everything that was never disturbed."""
    out = tmp_path_factory.mktemp("trained") / "run"
    moganet.train("digits", overrides=EVERYTHING, out=out)
    return out


@pytest.mark.parametrize("moment", ["written", "verified"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(moment, trained, tmp_path, monkeypatch):
    out, calls = tmp_path / "run", []
    where = {"written": "zipfile.ZipFile.testzip", "verified": "os.replace"}[moment]
    original = {"written": lambda archive: None, "verified": os.replace}[moment]

    def crash(*arguments):
        if moment == "written" or "last.ckpt" in str(arguments[1]):
            calls.append(1)
            if len(calls) == 4:
                raise Crash
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(where, crash)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # the dead clean nothing up
        with pytest.raises(Crash):
            moganet.train("digits", overrides=EVERYTHING, out=out)
    assert list(out.glob(".last*partial*"))
    moganet.train("digits", overrides=EVERYTHING, out=out, resume=True)
    assert outcome(out) == outcome(trained) and not list(out.glob(".*"))


def test_a_checkpoint_that_does_not_read_back_is_not_taken(trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("zipfile.ZipFile.testzip", lambda self: None if "partial" not in str(self.filename) else "x")
        with pytest.raises(OutputError, match="did not read back"):
            moganet.train("digits", overrides=EVERYTHING, out=tmp_path / "run")
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_finished_run_stays_as_it_is(trained, tmp_path):
    alone = Path(shutil.copytree(trained, tmp_path / "without"))
    (alone / "last.ckpt").unlink()
    assert moganet.train("digits", overrides=EVERYTHING, out=alone, resume=True)["steps"] == 8

    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.rglob("*") if path.is_file()}

    before = state()
    result = moganet.train("digits", overrides=EVERYTHING, out=trained, resume=True)
    unchanged = state() == before  # (a comparison in the assertion would be printed whole)
    assert unchanged and result["notes"] and result == json.loads((trained / "result.json").read_text())


@pytest.mark.parametrize("resume", [False, True])
def test_two_processes_do_not_train_in_one_folder(resume, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    overrides = {**TINY, "trainer.max_steps": 1}
    with FileLock(out / ".lock"), pytest.raises(ConfigError, match=r"another process is training in .*run; wait"):
        moganet.train("digits", overrides=overrides, out=out, resume=resume)
    moganet.train("digits", overrides=overrides, out=out, resume=resume)
    assert (out / "result.json").is_file() and not (out / ".lock").exists()


def test_without_a_run_it_begins(tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_text("of a run that was killed before its first save")
    for out in (tmp_path / "none", tmp_path / "begun"):
        assert moganet.train("digits", overrides={**TINY, "trainer.max_steps": 1}, out=out, resume=True)["steps"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer.max_epochs": 1}, "has 2 epochs and can't be made shorter"),
        ({"optimizer.lr": 1.0}, "optimizer.lr is 0.002 there and 1.0 here"),
        ({"data.batch_size": 10}, "a step takes 200 images there and 20 here"),
        ({"data.validation": 100}, "data.validation is "),
        ({"data.fraction": 0.25}, "data.fraction is 0.5 there and 0.25 here"),
        ({"seed": 3}, "seed is 0 there and 3 here"),
    ],
)
def test_another_recipe_is_refused_by_its_difference(changes, said, trained):
    with pytest.raises(ConfigError, match=said):
        moganet.train("digits", overrides={**EVERYTHING, **changes}, out=trained, resume=True)


def test_what_computes_the_same_may_change(trained):
    changes = {"data.workers": 1, "trainer.save_every": 60, "logger": "csv", "data.batch_size": 200}
    overrides = {**EVERYTHING, **changes, "trainer.accumulate": 1}
    assert moganet.train("digits", overrides=overrides, out=trained, resume=True)["steps"] == 8


@pytest.mark.parametrize("resume", [False, True])
def test_nothing_that_is_not_ours_is_removed(resume, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"another program's")
    with pytest.raises(ConfigError, match=r"holds last\.ckpt"):
        moganet.train("digits", overrides=TINY, out=tmp_path, resume=resume)
    assert (tmp_path / "last.ckpt").read_bytes() == b"another program's"


def test_a_step_may_be_divided_in_another_way(tmp_path, monkeypatch):
    overrides = {**TINY, "data.batch_size": 50, "trainer.accumulate": 2}
    assert crashes(monkeypatch, "training_step", 5, overrides=TINY, out=tmp_path / "run")
    original, sizes = Classification.training_step, []

    def step(self, batch, batch_idx):
        sizes.append(len(batch.images))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    assert moganet.train("digits", overrides=overrides, out=tmp_path / "run", resume=True)["steps"] == 12
    assert set(sizes) == {50} and len(sizes) == 2 * (12 - 4)


def test_what_can_not_go_on_is_one_line(trained, photos, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="needs the run's folder"):
        moganet.train("digits", resume=True)
    with pytest.raises(ConfigError, match="give one of them"):
        moganet.train("digits", resume=True, overwrite=True, out=tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best.safetensors").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="to go on from"):
        moganet.train("digits", overrides=TINY, resume=True, out=tmp_path / "models")
    assert crashes(monkeypatch, "training_step", 3, overrides=PHOTOS, data=str(photos), out=tmp_path / "run")
    hidden = photos / "train" / "red" / "3.png"
    hidden.rename(tmp_path / "3.png")
    with pytest.raises(ConfigError, match="are not those that it began with"):
        moganet.train("digits", overrides=PHOTOS, data=str(photos), out=tmp_path / "run", resume=True)
    (tmp_path / "3.png").rename(hidden)
    (tmp_path / "run" / "last.ckpt").write_bytes(b"garbage")
    with pytest.raises(WeightsError, match="remove it to begin the run anew") as caught:
        moganet.train("digits", overrides=PHOTOS, data=str(photos), out=tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)


def test_finetuning_goes_on_without_the_weights_it_started_from(trained_run, tmp_path, monkeypatch):
    source = tmp_path / "start.safetensors"
    source.write_bytes((trained_run / "best.safetensors").read_bytes())
    options = {
        "overrides": {"trainer.max_epochs": 1, "trainer.save_every": 1e-9, "data.fraction": 0.3},
        "start": source,
    }
    moganet.train("digits", **options, out=tmp_path / "whole")
    assert crashes(monkeypatch, "training_step", 4, **options, out=tmp_path / "run")
    source.unlink()
    moganet.train("digits", **options, out=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == (
        tmp_path / "whole" / "last.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_out_of_memory_halves_the_batch_and_keeps_the_step(error, tmp_path, monkeypatch, caplog):
    original, sizes = Classification.training_step, []

    def step(self, batch, batch_idx):
        sizes.append(len(batch.images))
        if len(batch.images) > 30:
            raise error
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    overrides = {**TINY, "trainer.max_steps": 2}
    result = moganet.train("digits", overrides=overrides, out=tmp_path / "run")
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert (recipe.data.batch_size, recipe.trainer.accumulate) == (25, 4) and result["steps"] == 2
    assert sizes[:3] == [100, 50, 25] and set(sizes[3:]) == {25}
    assert "going on with 50, 2 of which make a step of the same 100 images" in caplog.text
    again = moganet.train("digits", overrides=overrides, out=tmp_path / "run", resume=True)
    assert {**again, "notes": result["notes"]} == result


def test_memory_that_lacks_in_the_middle_of_a_run_costs_no_step(tmp_path, monkeypatch):
    original, calls = Classification.training_step, []

    def step(self, batch, batch_idx):
        calls.append(1)
        if len(calls) == 9 and len(batch.images) == 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    assert moganet.train("digits", overrides=TINY, out=tmp_path / "run")["steps"] == 2 * 6
    assert len(calls) == 9 + 2 * (12 - 8)


def test_a_batch_that_can_not_be_halved_is_said(tmp_path, monkeypatch):
    def step(self, batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classification, "training_step", step)
    with pytest.raises(TrainingError, match="grad_checkpointing"):
        moganet.train("digits", overrides={**TINY, "data.batch_size": 6}, out=tmp_path / "run")


def test_a_full_disk_is_one_line_and_loses_nothing(trained, tmp_path):
    out, (soft, hard) = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, hard))  # the first checkpoint fits, the one with averages not
    try:
        with pytest.raises(OutputError, match=r"last\.ckpt: File too large; .*--resume") as caught:
            moganet.train("digits", overrides=EVERYTHING, out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    moganet.train("digits", overrides=EVERYTHING, out=out, resume=True)
    assert outcome(out) == outcome(trained)


def test_a_dead_worker_is_one_line_and_the_run_goes_on(photos, tmp_path):
    # In a process of its own: torch's handler raises for a dead worker wherever the process happens to be.
    out = tmp_path / "run"
    process = command(
        "train", "digits", "--data", photos, *settings({**PHOTOS, "trainer.max_epochs": 200}), "--out", out
    )
    wait_for(out / "metrics.csv")
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in said and (out / "last.ckpt").exists()
    assert "a process that reads images was killed" in said.splitlines()[-1] and "--resume" in said.splitlines()[-1]


def test_an_image_that_vanishes_is_named_and_stops_nothing(photos, tmp_path, monkeypatch):
    images = make_folder(tmp_path / "photos", ("train", "val"), 12)
    original = Classification.on_fit_start
    monkeypatch.setattr(
        Classification, "on_fit_start", lambda self: ((images / "train" / "red" / "3.png").unlink(), original(self))
    )
    result = moganet.train("digits", data=str(images), overrides=PHOTOS, out=tmp_path / "run")
    assert [Path(one["file"]).name for one in result["unreadable"]] == ["3.png"]


def wait_for(path: Path, seconds: int = 90) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def settings(overrides: dict[str, object]) -> list[str]:
    return [text for name, value in overrides.items() for text in ("--set", f"{name}={json.dumps(value)}")]


def test_a_process_that_is_killed_stopped_and_killed_again(tmp_path):
    overrides, out = {**EVERYTHING, "trainer.max_epochs": 4}, tmp_path / "run"
    moganet.train("digits", overrides=overrides, out=tmp_path / "whole")
    line = ["train", "digits", *settings(overrides), "--out", out, "--resume"]
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        process = command(*line)
        started = time.time()
        while not (out / "last.ckpt").exists() or (out / "last.ckpt").stat().st_mtime < started:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code and "Traceback" not in said, said
        if code > 0:
            assert f"--out {out} --resume" in said.splitlines()[-1] and "is saved after" in said.splitlines()[-1]
    assert not (out / "result.json").exists()
    moganet.train("digits", overrides=overrides, out=out, resume=True)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_a_signal_for_the_whole_group_leaves_the_workers_alone(photos, tmp_path):
    overrides = {**PHOTOS, "trainer.max_epochs": 200, "trainer.save_every": 5}
    line = ("train", "digits", "--data", photos, *settings(overrides), "--out", tmp_path / "run")
    process = command(*line, leads=True)
    wait_for(tmp_path / "run" / "metrics.csv")
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "is saved after" in said.splitlines()[-1], said
    assert said.count("saving after this step") == 1


def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    process = command("train", "digits", *settings(TINY | {"trainer.max_epochs": 50}), "--out", tmp_path / "run")
    wait_for(tmp_path / "run" / "last.ckpt")
    os.kill(process.pid, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said and "--resume" in said.splitlines()[-1]


def test_a_loss_that_is_not_finite_is_no_run_to_go_on_with(tmp_path):
    with pytest.raises(MogaNetError) as caught:
        moganet.train("digits", overrides={**TINY, "optimizer.name": "sgd", "optimizer.lr": 1e30}, out=tmp_path / "run")
    assert "--resume" not in str(caught.value) and "--from" in str(caught.value)


def test_no_state_that_is_not_finite_takes_the_place_of_a_good_one(tmp_path, monkeypatch):
    monkeypatch.setitem(CHECK_EVERY, "cpu", 1000)  # as on a GPU, where not each step is looked at
    original = Classification.training_step

    def step(self, batch, batch_idx):
        if self.global_step == 3:
            self.network.head.weight.data.fill_(float("nan"))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classification, "training_step", step)
    with pytest.raises(TrainingError, match="the loss is not finite"):
        moganet.train("digits", overrides=TINY, out=tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3 and all(value.isfinite().all() for value in kept["state_dict"].values())


def test_weights_that_the_last_step_spoilt_are_a_line(tmp_path):
    with pytest.raises(TrainingError, match=r"after step 1 the network's answer .* not finite.*lower optimizer.lr"):
        moganet.train(
            "digits",
            overrides={**TINY, "trainer.max_steps": 1, "optimizer.lr": 1e30, "schedule.warmup": 0},
            out=tmp_path / "run",
        )
