"""Several processes train as one: the same losses, each image once, and an end that another run goes on from."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from own_process import OwnProcess
from pytorch_lightning.utilities.rank_zero import rank_zero_only

import moganet
from moganet.launchers import launched
from moganet.tasks.classify.training import Classification

SMALL = {
    "network.embed_dims": [8, 8, 16, 16],
    "network.depths": [1, 1, 1, 1],
    "network.mlp_ratios": [2, 2, 2, 2],
    "network.drop_path_rate": 0.2,
    "augment.mixup": 0.5,
    "data.batch_size": 16,
    "trainer.max_epochs": 1,
    "data.fraction": 0.5,
}
SCRIPT = """
import json, sys, time, moganet
overrides, out = json.loads(sys.argv[1]), sys.argv[2]
try:
    moganet.train("digits", overrides=overrides, out=out, resume=True)
except (KeyboardInterrupt, moganet.errors.MogaNetError) as error:  # a line, as the command line has it
    time.sleep(1)  # slower than a launcher, which ends the others of a job within a tenth of a second
    sys.exit(str(error))
"""


def recorded(overrides: dict[str, object], out: Path, log: Path) -> None:
    """Train, and write each step's loss, the mean over the processes and the parts of the step."""
    rank_zero_only.rank = int(os.environ["RANK"])  # which Lightning reads when it is imported
    losses, original = [], Classification.training_step

    def step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        value = loss.detach().clone()
        torch.distributed.all_reduce(value)
        losses.append(float(value) / self.trainer.world_size)
        return loss

    Classification.training_step = step
    result = moganet.train("digits", overrides=overrides, out=out)
    if os.environ["RANK"] == "0":
        log.write_text(json.dumps({"losses": losses, "result": result.plain()}))


def job(number: int) -> list[dict[str, str]]:
    """Give the variables that torchrun sets for each of a job's processes on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "1", "GROUP_RANK": "0"}
    common |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]


def test_two_processes_are_as_one_that_accumulates(tmp_path, monkeypatch):
    started = [OwnProcess(recorded, SMALL, tmp_path / "two", tmp_path / "two.json", **names) for names in job(2)]
    said = "".join(process.communicate(timeout=120)[1] for process in started)
    assert [process.returncode for process in started] == [0, 0], said
    assert sum(line.startswith("epoch 1/1") for line in said.splitlines()) == 1  # the first process alone speaks
    losses, step = [], Classification.training_step

    def kept(*arguments):
        loss = step(*arguments)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(Classification, "training_step", kept)
    result = moganet.train("digits", overrides={**SMALL, "trainer.accumulate": 2}, out=tmp_path / "one")
    two = json.loads((tmp_path / "two.json").read_text())
    accumulated = [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)]
    assert two["losses"][:20] == pytest.approx(accumulated[:20], rel=1e-5) and len(accumulated) >= 20
    assert two["result"]["steps"] == result["steps"]
    # Their validation counts the same images; it differs by the statistics of the norms, of one half of the images.
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("one", "two")]
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    validated = [float(row["val/loss"]) for some in rows for row in some if row["val/loss"]]
    assert validated[0] == pytest.approx(validated[1], rel=0.05)


def resumed(overrides: dict[str, object], out: Path) -> None:
    """Train, and say an error in a line, as the command line does."""
    rank_zero_only.rank = int(os.environ["RANK"])
    try:
        moganet.train("digits", overrides=overrides, out=out, resume=True)
    except (KeyboardInterrupt, moganet.errors.MogaNetError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def test_a_killed_process_ends_the_others_of_its_job_and_one_alone_goes_on(tmp_path):
    overrides, out = {**SMALL, "trainer.max_epochs": 3, "trainer.save_every": 0.005}, tmp_path / "run"
    first, second = (OwnProcess(resumed, overrides, out, **names) for names in job(2))
    deadline = time.monotonic() + 120
    while not (out / "last.ckpt").exists():
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=120)
    second.communicate(timeout=20)
    assert first.returncode == 1 and not (out / "result.json").exists()
    assert "another process of this job is gone" in said and f"--out {out} --resume" in said
    one = {**overrides, "data.batch_size": 32, "trainer.save_every": 60}
    assert moganet.train("digits", overrides=one, out=out, resume=True)["epochs"] == 3


@pytest.mark.slow  # the same under torchrun, three processes that import torch
def test_a_killed_process_ends_torchruns_job_and_another_number_goes_on(tmp_path):
    overrides, out = {**SMALL, "trainer.max_epochs": 3, "trainer.save_every": 0.005}, tmp_path / "run"
    (tmp_path / "script.py").write_text(SCRIPT)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*line, str(tmp_path / "script.py"), json.dumps(overrides), str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (out / "last.ckpt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    ranked = {}
    for child in map(int, children.stdout.split()):
        environment = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        ranked[next((text for text in environment if text.startswith("RANK=")), "")] = child
    os.kill(ranked["RANK=1"], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0 and not (out / "result.json").exists()
    assert "another process of this job is gone" in said or "without a save; go on with" in said or "saved" in said
    assert f"--out {out} --resume" in said
    one = {**overrides, "data.batch_size": 32, "trainer.save_every": 60}
    assert moganet.train("digits", overrides=one, out=out, resume=True)["epochs"] == 3


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        (
            {
                **{"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "SLURM_NTASKS": "2"},
                **{"RANK": "5", "LOCAL_RANK": "1"},
            },
            (4, 2),
        ),
        ({"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (8, 2)),
        ({"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (8, 2)),
    ],
)
def test_launchers_tell_how_many_processes_there_are(variables, expected, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM", "TORCHELASTIC", "LOCAL_", "WORLD_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected


def test_what_several_processes_can_not_do_is_said(tmp_path):
    with pytest.raises(moganet.errors.DataError, match="fewer than one step of 2 batches"):
        moganet.train("digits", overrides={**SMALL, "data.batch_size": 1000, "trainer.devices": 2}, out=tmp_path / "r")
