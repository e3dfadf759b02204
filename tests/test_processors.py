"""As many threads as the container's quota allows, the environment says, or the caller asks; for all that computes."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from small_model import exported, model, pictures

import moganet
from moganet import machine, processors
from moganet.data.loader import num_workers
from moganet.errors import ConfigError
from moganet.processors import choice_of_threads, num_threads, prepare_threads, using_threads
from moganet.quota import quota_in_cores

V2 = "29 23 0:26 {inside} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup rw"
V1 = "32 31 0:29 {inside} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{options}"


def machine_of(root, groups, mounts, **files):
    """Make the files by which Linux tells a process of its control groups."""
    files = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
    return root


def group(path, text):
    return {f"sys/fs/cgroup/{path}": text}


CASES = {
    "v2": ("0::/", V2.format(inside="/"), group("cpu.max", "200000 100000"), 2.0),
    "v2, none": ("0::/", V2.format(inside="/"), group("cpu.max", "max 100000"), None),
    "v2, one number": ("0::/", V2.format(inside="/"), group("cpu.max", "150000"), 1.5),
    "v2, within one": (
        "0::/kubepods/pod1/app",
        V2.format(inside="/"),
        group("kubepods/pod1/cpu.max", "250000 100000") | group("kubepods/pod1/app/cpu.max", "max 100000"),
        2.5,
    ),
    "v2, the least of several": (
        "0::/a/b",
        V2.format(inside="/"),
        group("a/cpu.max", "300000 100000") | group("a/b/cpu.max", "800000 100000"),
        3.0,
    ),
    "v2, told of the machine around": (
        "0::/docker/abc",
        V2.format(inside="/docker/abc"),
        group("cpu.max", "50000 100000"),
        0.5,
    ),
    "v2, outside of what is mounted": ("0::/../../x", V2.format(inside="/"), group("cpu.max", "400000 100000"), 4.0),
    "v1": (
        "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc",
        V1.format(inside="/docker/abc", name="cpu,cpuacct", options="cpu,cpuacct"),
        group("cpu,cpuacct/cpu.cfs_quota_us", "200000") | group("cpu,cpuacct/cpu.cfs_period_us", "100000"),
        2.0,
    ),
    "v1, none": (
        "1:cpu:/",
        V1.format(inside="/", name="cpu", options="cpu"),
        group("cpu/cpu.cfs_quota_us", "-1") | group("cpu/cpu.cfs_period_us", "100000"),
        None,
    ),
    "v1, within one": (
        "1:cpu:/lxc/box",
        V1.format(inside="/", name="cpu", options="cpu"),
        group("cpu/lxc/cpu.cfs_quota_us", "100000")
        | group("cpu/lxc/cpu.cfs_period_us", "50000")
        | group("cpu/lxc/box/cpu.cfs_quota_us", "-1"),
        2.0,
    ),
    "v1 beside v2": (
        "1:cpu:/\n0::/",
        V1.format(inside="/", name="cpu", options="cpu") + "\n40 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 c rw",
        group("cpu/cpu.cfs_quota_us", "300000") | group("cpu/cpu.cfs_period_us", "100000"),
        3.0,
    ),
    "a place with a space": (
        "0::/",
        r"29 23 0:26 / /sys/fs/c\040group rw - cgroup2 cgroup rw",
        {"sys/fs/c group/cpu.max": "200000 100000"},
        2.0,
    ),
    "no word of groups": (None, None, group("cpu.max", "200000 100000"), 2.0),
    "no word of anything": (None, None, {}, None),
    "nonsense": ("0::/\n\n:::", "- \nx - cgroup2", group("cpu.max", "many of them"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_is_read_from_the_control_groups(case, tmp_path):
    groups, mounts, files, expected = CASES[case]
    assert quota_in_cores(machine_of(tmp_path, groups, mounts, **files)) == expected


@pytest.mark.parametrize(
    ("quota", "cores"), [(2.0, 2), (2.9, 2), (0.5, 1), (0.01, 1), (200.0, 64), (float("inf"), 64), (None, 64)]
)
def test_of_64_cores_as_many_are_used_as_the_quota_has(quota, cores, monkeypatch):
    monkeypatch.setattr(machine, "quota_in_cores", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert machine.num_cores() == cores
    assert num_workers(None) == min(cores, 16)
    assert num_workers(None, beside=2) == max(1, min(cores // 2, 16)) and num_workers(3, beside=2) == 3


@pytest.fixture
def in_container(monkeypatch):
    """Let this be a process on 64 cores with a quota of two, which has not prepared itself."""
    monkeypatch.setattr(machine, "quota_in_cores", lambda: 2.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name in (processors.OURS, processors.VARIABLE, *processors.BLAS, *processors.SPINNING):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


def test_what_is_loaded_later_is_told_of_the_quota(in_container, monkeypatch):
    prepare_threads()
    assert {os.environ[name] for name in (processors.VARIABLE, *processors.BLAS)} == {"2"}
    monkeypatch.delitem(sys.modules, "torch")
    assert choice_of_threads() == (2, "the quota of this process's container, of 64 cores")


def test_processes_that_train_together_share_the_cores(in_container, monkeypatch):
    before = torch.get_num_threads()
    prepare_threads()
    try:
        processors.share_cores(2)
        assert torch.get_num_threads() == 1
        monkeypatch.setenv(processors.VARIABLE, "3")  # what the user says holds
        torch.set_num_threads(3)
        processors.share_cores(2)
        assert choice_of_threads() == (3, "OMP_NUM_THREADS in the environment; 2 cores may be used")
    finally:
        torch.set_num_threads(before)


def test_what_was_loaded_before_keeps_to_the_quota(in_container):
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        prepare_threads()
        assert torch.get_num_threads() == num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "number"), [("5", 5), ("1", 1), ("3,2", 3)])
def test_what_the_user_says_in_the_environment_holds_and_is_said(said, number, in_container, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    prepare_threads()
    assert os.environ["OMP_NUM_THREADS"] == said and "MKL_NUM_THREADS" not in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    assert choice_of_threads() == (number, "OMP_NUM_THREADS in the environment; 2 cores may be used")


@pytest.mark.skipif(sys.platform != "linux", reason="this is about libgomp")
@pytest.mark.parametrize(("others", "sleeps"), [(0, False), (62, False), (63, True), (200, True)])
def test_threads_sleep_while_they_wait_where_others_have_their_cores(others, sleeps, in_container, monkeypatch):
    monkeypatch.setattr(processors, "num_others", lambda: others)
    prepare_threads()
    assert os.environ.get("OMP_WAIT_POLICY") == ("PASSIVE" if sleeps else None)
    assert processors.do_sleep() == sleeps


@pytest.mark.skipif(sys.platform != "linux", reason="this is about libgomp")
@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "1000"), ("OMP_WAIT_POLICY", "ACTIVE")])
def test_how_threads_wait_is_as_the_user_says(name, value, in_container, monkeypatch):
    monkeypatch.setattr(processors, "num_others", lambda: 64)
    monkeypatch.setenv(name, value)
    prepare_threads()
    assert os.environ.get("OMP_WAIT_POLICY") == (value if name == "OMP_WAIT_POLICY" else None)
    assert not processors.do_sleep()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how many compute")
def test_those_that_compute_are_counted_and_those_that_sleep_are_not():
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        time.sleep(0.5)
        assert machine.num_others() >= 3
    finally:
        for process in burning:
            process.kill()
            process.wait()


def test_a_number_holds_within_its_block_alone():
    before, said = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    with using_threads(3):
        assert torch.get_num_threads() == num_threads() == num_workers(None) == 3
        with using_threads(1):
            assert torch.get_num_threads() == num_threads() == 1
        assert torch.get_num_threads() == 3 and os.environ["OMP_NUM_THREADS"] == "3"
    assert torch.get_num_threads() == before and os.environ.get("OMP_NUM_THREADS") == said


def test_blocks_of_several_threads_leave_what_was():
    before, first, second = torch.get_num_threads(), using_threads(3), using_threads(4)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # the one that began before ends before
    assert torch.get_num_threads() == 4
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**9, np.int64(0)])
def test_a_number_that_can_not_be_is_refused(threads):
    with pytest.raises(ConfigError, match="threads is"):
        moganet.load("moganet_nano.digits", threads=threads)
    with pytest.raises(ConfigError, match="threads is"):
        moganet.predict("moganet_nano.digits", "x.png", threads=threads)


@pytest.mark.parametrize("runtime", ["eager", "openvino", "onnx"])
def test_a_predictor_computes_with_its_own_number(runtime):
    seen, image = [], pictures()[0]
    predictor = moganet.load(model() if runtime == "eager" else exported(runtime), threads=1)
    expected, run = predictor(image)[0].probabilities, predictor.run
    predictor.run = lambda images, sizes: (seen.append((num_threads(), torch.get_num_threads())), run(images, sizes))[1]
    with using_threads(2):
        assert np.allclose(predictor(image)[0].probabilities, expected, atol=1e-6)
        predictor.threads = None  # another number: what was made ready for one is not used
        assert np.allclose(predictor(image)[0].probabilities, expected, atol=1e-6)
    assert seen == [(1, 1), (2, 2)]


def test_a_verb_computes_with_the_number_that_it_is_given(monkeypatch):
    from threadpoolctl import threadpool_info

    found = []

    def each(row):
        blas = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
        found.append((num_threads(), torch.get_num_threads(), blas))

    moganet.predict("moganet_nano.digits", data="digits", limit=2, each=each, threads=1)
    assert found == [(1, 1, {1})] * 2


def test_more_threads_than_cores_are_said():
    more = machine.num_cores() + 1
    result = moganet.predict("moganet_nano.digits", data="digits", limit=1, threads=more)
    assert any(f"{more} threads were asked for" in note for note in result.notes)
