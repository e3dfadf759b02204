"""Processes of several hosts are of one mind before they train, end together, and go on to the same weights."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from own_process import OwnProcess
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from test_processes import SMALL, job
from test_sources import make_folder
from torch.distributed import TCPStore

import moganet
from moganet.errors import ConfigError
from moganet.notices import listening
from moganet.training import hosts, interfaces
from moganet.training.hosts import Statement, difference

FIRST = Statement(
    rank=0,
    host="a",
    folder="runs/x",
    versions={"moganet": "1", "torch": "2.14.0", "python": "3.11.2"},
    device="cpu",
    settings={"optimizer.lr": "0.001", "trainer.precision": '"bf16"', "data.source": '"/a/photos"'},
    data="/a/photos",
    fingerprint="f",
    state=None,
)
SECOND = FIRST.changed(rank=1, host="b", data="/b/photos", settings={**FIRST.settings, "data.source": '"/b/photos"'})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"versions": {**FIRST.versions, "python": "3.12.0"}}, None),
        ({"versions": {**FIRST.versions, "torch": "2.9.1"}}, r"process 1 on b has torch 2\.9\.1, process 0 on a has 2"),
        (
            {"settings": {**SECOND.settings, "optimizer.lr": "0.1"}},
            r"optimizer\.lr is 0\.1 for process 1 on b and 0\.001",
        ),
        ({"settings": {**SECOND.settings, "trainer.precision": '"f32"'}}, r"precision .*--set trainer\.precision=…"),
        ({"device": "cuda"}, "process 1 on b would train on cuda, process 0 on a on cpu"),
        ({"fingerprint": "g"}, "classes of /b/photos.* process 1 on b.*the same data set"),
        ({"state": "1 2"}, "process 1 on b goes on with the run in runs/x, where process 0 on a sees none"),
    ],
)
def test_what_one_would_train_otherwise_is_named(changes, said):
    found = difference([FIRST, SECOND.changed(**changes)])
    assert found is None if said is None else re.search(said, found)


def test_hosts_that_go_on_from_other_states_are_told_apart():
    found = difference([FIRST.changed(state="1 2"), SECOND.changed(state="1 3")])
    assert "another state of the run for process 1 on b" in found
    assert "process 0 on a goes on" in difference([FIRST.changed(state="1 2"), SECOND])


def test_what_another_version_says_is_no_fault_of_ours():
    assert hosts._parsed(FIRST.model_dump_json().encode(), 0).model_dump() == FIRST.model_dump()
    with pytest.raises(ConfigError, match="process 3 of this job has another version of moganet"):
        hosts._parsed(b'{"rank": 3, "words": []}', 3)


def test_the_interface_towards_the_first_host_is_taken_where_the_hosts_name_does_not_tell(monkeypatch):
    monkeypatch.delenv(interfaces.VARIABLE, raising=False)
    monkeypatch.setattr(interfaces, "_own_address", lambda: "127.0.1.1")
    monkeypatch.setattr(interfaces, "_address_towards", lambda *_: "10.0.0.2")
    with pytest.raises(ConfigError, match=r"127\.0\.1\.1.*set GLOO_SOCKET_IFNAME to the interface towards head"):
        interfaces.choose_interface("head", 29400)
    monkeypatch.setattr(interfaces, "_interface_of", {"10.0.0.2": "eth7"}.get)
    with listening() as said:
        interfaces.choose_interface("head", 29400)
    assert os.environ.pop(interfaces.VARIABLE) == "eth7" and "eth7, the interface towards head" in said[0]
    monkeypatch.setattr(interfaces, "_own_address", lambda: "192.168.0.7")  # torch's own choice is right
    interfaces.choose_interface("head", 29400)
    monkeypatch.setattr(interfaces, "_own_address", lambda: None)
    monkeypatch.setenv(interfaces.VARIABLE, "eth1")  # what the user has set stays
    interfaces.choose_interface("head", 29400)
    assert os.environ[interfaces.VARIABLE] == "eth1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell in this way")
def test_interfaces_are_known_by_their_address():
    assert interfaces._address_towards("127.0.0.1", 80) == "127.0.0.1"
    assert interfaces._interface_of("127.0.0.1") == "lo" and interfaces._interface_of("203.0.113.9") is None


def trained(data: Path, out: Path) -> None:
    """Train as the command does, with an error as a line."""
    rank_zero_only.rank = int(os.environ["RANK"])  # which Lightning reads when it is imported
    try:
        moganet.train("digits", data=str(data), overrides={**SMALL, "data.workers": 0, "data.batch_size": 4}, out=out)
    except moganet.errors.MogaNetError as error:
        sys.exit(f"{error}")


@pytest.mark.parametrize("lacks", ["some images", "all"])
def test_other_images_on_one_host_are_a_line_on_both_and_nothing_is_written(tmp_path, lacks):
    photos = make_folder(tmp_path / "a", ("train", "val"), 20)
    shutil.copytree(photos, tmp_path / "b")
    if lacks == "all":
        shutil.rmtree(tmp_path / "b")
    else:
        next((tmp_path / "b").rglob("*.*")).unlink()
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    shared = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}  # torchrun's own store
    started = [
        OwnProcess(trained, tmp_path / name, tmp_path / f"run-{name}", **{**names, **shared})
        for name, names in zip("ab", job(2), strict=True)
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert all(process.returncode for process in started), said
    line = "process 1 on .* has ended: .*b" if lacks == "all" else "classes of .*b, or their order, are for process 1"
    for text in said:
        assert (str(tmp_path / "b") if lacks == "all" else "by their contents") in text, said
    assert re.search(line, said[0]), said
    assert not list(tmp_path.glob("run-*/*"))


ADDRESSES = "10.219.77.{}"
LONGER = {"trainer.max_epochs": 3, "trainer.save_every": 0.005, "report": "false"}


@pytest.fixture
def two_hosts(tmp_path):
    """Two network namespaces with an address each, which see nothing but each other."""
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` (iproute2), which makes network namespaces")
    names = [f"moganet-{os.getpid()}-{number}" for number in (1, 2)]
    ends = [f"mg{os.getpid()}{letter}"[-15:] for letter in "ab"]
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this machine makes no network namespaces: {made.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            ip("-n", name, "address", "add", f"{ADDRESSES.format(number)}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            kill_host(name)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def kill_host(name: str) -> None:
    """Kill all that runs on a host, as the loss of its power would."""
    for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split():
        os.kill(int(pid), 9)


def rendezvous(number: int) -> list[str]:
    """Give the options of torchrun that differ from host to host: their names do not lead to these addresses."""
    return ["--rdzv-conf", f"is_host={number == 1}", "--local-addr", ADDRESSES.format(number)]


@contextmanager
def training(names: list[str], out: Path, *options: str):
    """Start torchrun on each host, as docs/scale.md says it."""
    line = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    line += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES.format(1)}:29400"]
    settings = [
        text for key, value in {**SMALL, **LONGER}.items() for text in ("--set", f"{key}={value}".replace(" ", ""))
    ]
    what = ["-m", "moganet", "train", "digits", "--out", str(out), *settings, *options]
    started = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, *line, *rendezvous(number), *what],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number, name in enumerate(names, 1)
    ]
    try:
        yield started
    finally:
        for name in names:
            kill_host(name)
        for process in started:
            process.wait(20)
            process.stderr.close()


def weights(out: Path) -> str:
    return hashlib.sha256((out / "last.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow  # four jobs of two processes that import torch
def test_a_host_that_is_lost_ends_the_job_which_goes_on_to_the_same_weights(two_hosts, tmp_path):
    with training(two_hosts, tmp_path / "whole") as whole:
        said, _ = (process.communicate(timeout=300)[1] for process in whole)
    assert [process.returncode for process in whole] == [0, 0], said
    assert "2 processes on 2 hosts train together" in said
    for lost, left in ((1, 0), (0, 1)):
        out = tmp_path / f"lost-{lost}"
        with training(two_hosts, out) as broken:
            await_save(out, broken[left])
            kill_host(two_hosts[lost])
            since = time.monotonic()
            said = broken[left].communicate(timeout=120)[1]
            assert time.monotonic() - since < 60
        assert broken[left].returncode and not (out / "result.json").exists()
        lines = [line for line in said.splitlines() if "moganet: another process of this job is gone" in line]
        assert len(lines) == 1 and f"--out {out} --resume" in lines[0], said
        with training(two_hosts, out, "--resume") as again:
            said, _ = (process.communicate(timeout=300)[1] for process in again)
        assert [process.returncode for process in again] == [0, 0], said
        assert weights(out) == weights(tmp_path / "whole")


def await_save(out: Path, process: subprocess.Popen[str]) -> None:
    """Wait for a save in the middle of an epoch."""
    deadline, first = time.monotonic() + 120, None
    while True:
        assert process.poll() is None and time.monotonic() < deadline
        if (out / "last.ckpt").exists():
            now = (out / "last.ckpt").stat().st_mtime_ns
            first = now if first is None else first
            if now != first:
                return
        time.sleep(0.01)
