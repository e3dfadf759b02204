"""No wait without an end: what happens to a process that reads images, a launcher or a server is a line, and soon."""

import http.server
import multiprocessing
import os
import random
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from own_process import OwnProcess
from test_sources import make_folder

import moganet
from moganet.data import waiting
from moganet.data.loader import Batch, Loader
from moganet.errors import ConfigError, DataError, MogaNetError, TrainingError, WorkerError
from moganet.files import write_text
from moganet.launchers import launched, refuse_without_srun
from moganet.notices import listening
from moganet.tasks.recipes import load_recipe
from moganet.training import start
from moganet.training.signals import STOP_SIGNALS, Signals

TINY = {
    **{"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "network.mlp_ratios": [2, 2, 2, 2]},
    **{"trainer.max_epochs": 1, "data.batch_size": 4, "data.workers": 1, "data.validation": "val", "logger": "csv"},
    **{"preprocessing": {"size": 32}, "augment": {"crop": "resized"}},
}


def in_worker() -> bool:
    return multiprocessing.parent_process() is not None


class Numbers:
    """Batches of one number each; `fate` befalls the process that reads number 3."""

    def __init__(self, fate=None):
        self.fate = fate

    def read(self, places):
        if self.fate is not None and places[0] == 3 and in_worker():
            self.fate()
        return Batch(torch.full((1, 3, 40, 40), places[0], dtype=torch.uint8), torch.tensor([places[0]]))


def numbers(batches) -> list[int]:
    return [int(batch.targets[0]) for batch in batches]


def order(number: int = 8) -> list[list[int]]:
    return [[i] for i in range(number)]


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def refuse():
    raise DataError("image 3 can't be read")


def starve():
    raise MemoryError


def interrupt(answer):
    raise KeyboardInterrupt


def blunder():
    raise KeyError("ours")


def pids_of(loader_: Loader) -> list[int]:
    return [process.pid for process in loader_._team.processes]


def are_gone(pids, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in state_of(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_processes_change_nothing(workers):
    batches = Loader(Numbers(), order(), workers)
    for _ in range(2):
        assert numbers(batches) == list(range(8)) and len(batches) == 8
    next(iter(batches))  # an iteration that is given up spoils none after it
    assert numbers(batches) == list(range(8))


class Large:
    """Batches of 10 MB, of many places: both are larger than what a socket holds."""

    def read(self, places):
        return Batch(torch.full((70, 3, 224, 224), places[0] % 256, dtype=torch.uint8), torch.tensor(places))


def test_batches_larger_than_a_socket_and_more_processes_than_batches():
    places = [list(range(first, first + 100_000)) for first in range(6)]
    for (first, *_), batch in zip(places, Loader(Large(), places, 50), strict=True):
        assert int(batch.targets[0]) == first and bool((batch.images == first).all())


@pytest.mark.slow
def test_processes_that_are_started_afresh(monkeypatch):
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda: context)
    batches = Loader(Numbers(), order(), 2)
    assert numbers(batches) == list(range(8)) == numbers(batches)
    pids = pids_of(batches)
    batches.end()
    assert are_gone(pids) and numbers(batches) == list(range(8))


def test_a_closed_stdin_is_not_needed():
    kept = os.dup(0)
    os.close(0)
    try:
        batches = Loader(Numbers(), order(), 2)
        assert numbers(batches) == list(range(8))
        batches.end()  # one of its sockets may have the number of stdin
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_process_that_dies_between_two_rounds_is_said_and_replaced():
    batches = Loader(Numbers(), order(), 2)
    next(iter(batches))
    os.kill(pids_of(batches)[1], signal.SIGKILL)
    with pytest.raises(WorkerError, match="was killed"):
        numbers(batches)
    assert numbers(batches) == list(range(8))


@pytest.mark.parametrize(
    ("fate", "error", "said"),
    [
        (lambda: die(signal.SIGKILL), WorkerError, "was killed .SIGKILL, as the system does where memory runs out"),
        (lambda: die(signal.SIGSEGV), WorkerError, "was killed .SIGSEGV"),
        (lambda: os._exit(3), WorkerError, "ended .exit code 3"),
        (lambda: die(signal.SIGSTOP), WorkerError, "gave nothing for 2 s"),
        (lambda: time.sleep(60), WorkerError, "gave nothing for 2 s"),
        (starve, WorkerError, "too little memory"),
        (refuse, DataError, "^image 3 can't be read$"),
    ],
)
def test_whatever_befalls_a_process_is_one_line_and_leaves_none(fate, error, said, monkeypatch):
    monkeypatch.setenv(waiting.LIMIT, "2")
    batches = Loader(Numbers(fate), order(), 2)
    began, iteration = time.monotonic(), iter(batches)
    next(iteration)
    pids = pids_of(batches)
    with pytest.raises(error, match=said) as caught:
        numbers(iteration)
    assert "\n" not in str(caught.value) and time.monotonic() - began < 15
    if error is WorkerError:
        assert "--workers 1" in str(caught.value)
    assert are_gone(pids)


def test_our_own_fault_in_a_process_is_told_as_such_and_leaves_none():
    batches = Loader(Numbers(blunder), order(), 1)
    with pytest.raises(RuntimeError, match="KeyError: 'ours'"):
        numbers(batches)
    assert batches._team is None


def test_an_interrupt_of_the_wait_leaves_no_process(monkeypatch):
    batches = Loader(Numbers(), order(), 2)
    iteration = iter(batches)
    next(iteration)
    pids = pids_of(batches)
    monkeypatch.setattr(batches._team, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(iteration)
    assert are_gone(pids)


def test_a_limit_that_is_none_is_said(monkeypatch):
    monkeypatch.setenv(waiting.LIMIT, "soon")
    with pytest.raises(ConfigError, match="MOGANET_WAIT is 'soon'"):
        numbers(Loader(Numbers(), order(), 1))


def test_stopped_processes_go_with_their_loader():
    batches = Loader(Numbers(), order(), 2)
    next(iter(batches))
    pids = pids_of(batches)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    del batches
    assert are_gone(pids)


SCRIPT = """
import os, signal, torch
from moganet.data.loader import Batch, Loader
class Numbers:
    def read(self, places):
        return Batch(torch.zeros(1, 3, 40, 40, dtype=torch.uint8), torch.tensor(places))
batches = Loader(Numbers(), [[i] for i in range(100)], 2)
iteration = iter(batches)
next(iteration)
pids = [process.pid for process in batches._team.processes]
print(*pids, flush=True)
os.kill(pids[0], signal.SIGSTOP)
"""


def test_no_process_outlives_the_main_ones_end():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, "-c", SCRIPT]
    process = subprocess.run(line, stdout=subprocess.PIPE, text=True, env=environment, timeout=120, check=True)
    pids = [int(pid) for pid in process.stdout.split()]
    assert len(pids) == 2 and are_gone(pids)


def read_on(place):
    batches = Loader(Numbers(), order(100), 2)
    next(iter(batches))
    write_text(place, " ".join(map(str, pids_of(batches))))
    time.sleep(60)


def test_no_process_outlives_the_main_ones_death(tmp_path):
    process, end = OwnProcess(read_on, tmp_path / "pids"), time.monotonic() + 60
    while not (tmp_path / "pids").exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and process.returncode == -9 and are_gone(pids)


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_named(tmp_path):
    make_folder(tmp_path / "photos", ("train", "val"), 4)
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing as mp\nmp.set_start_method('spawn')\nimport moganet\n"
        f"moganet.train('digits', {str(tmp_path / 'photos')!r}, {TINY!r})\n"
    )
    folder = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "TrainingError" in last and "ended as it started" in last and '`if __name__ == "__main__":`' in last


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"), ("train", "val"), 20)


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "run"
    moganet.train("digits", data=str(photos), overrides={**TINY, "data.workers": 0, "trainer.max_steps": 1}, out=out)
    return out


def killing(monkeypatch, after: int) -> None:
    """Let each process that reads images die of its n-th image."""
    from moganet.data import source

    original, seen = source.decode, []

    def decode(*arguments):
        seen.append(1)
        if in_worker() and len(seen) > after:
            die(signal.SIGKILL)
        return original(*arguments)

    monkeypatch.setattr(source, "decode", decode)


def verbs(photos, model, out):
    images = [str(file) for file in sorted((photos / "train").rglob("*.png"))]
    return {
        "train": lambda: moganet.train("digits", data=str(photos), overrides=TINY, out=out),
        "evaluate": lambda: moganet.evaluate(model, str(photos), "train", batch_size=4, workers=1, out=out),
        "predict": lambda: moganet.predict(model, images, batch_size=4, workers=1),
        "report": lambda: moganet.write_report(
            model, str(photos), "train", batch_size=4, workers=1, out=out / "r.html"
        ),
    }


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict", "report"])
def test_a_killed_process_is_one_line_in_every_verb(verb, photos, model, tmp_path, monkeypatch):
    killing(monkeypatch, after=9)
    expected = TrainingError if verb == "train" else WorkerError
    with pytest.raises(expected, match=r"a process that reads images was killed") as caught:
        verbs(photos, model, tmp_path / "run")[verb]()
    assert "\n" not in str(caught.value) and ("--resume" in str(caught.value)) == (verb == "train")
    assert not multiprocessing.active_children()


def killed_run(photos: Path, out: Path, draw: random.Random) -> tuple[int, str]:
    """Train in a process of its own, and kill one of those that read images at some moment."""
    settings = {**TINY, "data.workers": 2, "trainer.max_epochs": 200}
    arguments = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "moganet", "train", "digits", "--data", str(photos), "--out", str(out), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not (out / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 1))
    children: list[str] = []
    while not children:
        assert process.poll() is None
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(draw.choice(children)), signal.SIGKILL)
    _, said = process.communicate(timeout=90)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("number", range(100))
def test_a_hundred_kills(number, photos, tmp_path):
    code, said = killed_run(photos, tmp_path / "run", random.Random(number))
    assert code == 2 and "Traceback" not in said, said
    assert "a process that reads images was killed" in said.splitlines()[-1]


@pytest.mark.parametrize("first", STOP_SIGNALS)
@pytest.mark.parametrize("second", STOP_SIGNALS)
def test_a_second_signal_of_any_kind_ends_at_once(first, second, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    held = Signals()
    held.state = "within"
    held.take()
    try:
        os.kill(os.getpid(), first)  # saves after this step
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)
            time.sleep(1)
    finally:
        held.restore()
    assert held.received == second


def test_a_closed_terminal_stops_a_run_unless_it_was_told_to_go_on():
    before = signal.getsignal(signal.SIGHUP)
    for how, taken in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):  # nohup
        signal.signal(signal.SIGHUP, how)
        held = Signals()
        held.take()
        try:
            assert (signal.getsignal(signal.SIGHUP) == held.on_signal) is taken
        finally:
            held.restore()
        assert signal.getsignal(signal.SIGHUP) == how
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM", "TORCHELASTIC", "LOCAL_", "WORLD_", "RANK", "MASTER_", "GROUP_", "NODE_")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("text", ["", "two", "-1", "1.5", "2 ", "²", "9" * 40])
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT", "SLURM_NTASKS", "SLURM_PROCID"])
def test_what_is_no_number_of_a_launcher_is_one_line(name, text, clean):
    clean.setenv(name, text)
    with pytest.raises(ConfigError, match=f"^{name} is .* whole number"):
        launched()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LOCAL_WORLD_SIZE": "2"},
        {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"},
        {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"},
        {"LOCAL_WORLD_SIZE": "0", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
    ],
)
def test_half_of_torchruns_variables_is_one_line(variables, clean):
    for name, value in {"TORCHELASTIC_RUN_ID": "1", **variables}.items():
        clean.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun"):
        launched()


@pytest.mark.parametrize("per_node", [None, "2"])
def test_slurms_tasks_without_srun_are_not_waited_for(per_node, clean):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train"}.items():
        clean.setenv(name, value)
    if per_node:
        clean.setenv("SLURM_NTASKS_PER_NODE", per_node)
    with pytest.raises(ConfigError, match="start it with `srun"):
        refuse_without_srun()
    clean.setenv("SLURM_STEP_ID", "0")
    refuse_without_srun()


def test_machines_that_nothing_starts_are_not_waited_for(clean, tmp_path):
    with pytest.raises(ConfigError, match="torchrun or srun"):
        moganet.train("digits", overrides={"trainer.num_nodes": 2}, out=tmp_path / "run")
    with pytest.raises(MogaNetError, match=r"trainer\.devices"):
        moganet.train("digits", overrides={"trainer.devices": 1000}, out=tmp_path / "run")


class Silent(socketserver.BaseRequestHandler):
    def handle(self):
        time.sleep(3)


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("handler", [Silent, Refusing, None], ids=["silent", "refusing", "none there"])
def test_weights_that_can_not_be_had_are_done_without_soon(handler, monkeypatch):
    monkeypatch.setattr("moganet.models.download.REACH", 0.5)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler or Silent) as server:
        server.daemon_threads = True
        if handler is not None:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.socket.close()
        monkeypatch.setenv("MOGANET_WEIGHTS_URL", f"http://127.0.0.1:{server.server_address[1]}")
        recipe = load_recipe("finetune", {"network.name": "moganet_tiny"})
        began = time.monotonic()
        assert start.choose_start(recipe, None).start.model is None
        assert time.monotonic() - began < 5
        if handler is not None:
            server.shutdown()


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_another_launchers_processes_are_not_trained_with_and_that_is_said(name, clean):
    clean.setenv(name, "2")
    with listening() as heard:
        assert launched() is None
    assert len(heard) == 1 and f"{name} is 2" in heard[0] and "alone" in heard[0]


def test_a_number_of_slurms_that_is_none_is_told_before_it_is_read(clean):
    clean.setenv("SLURM_NTASKS", "x")
    with pytest.raises(ConfigError, match="SLURM_NTASKS is 'x'"):
        refuse_without_srun()
