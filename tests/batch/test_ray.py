"""Batches by Ray's workers: the rows of one process, whoever is killed and whoever goes on. Ray is started once."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from own_process import command
from small_model import exported
from test_batch import NUMBER, photos, rows
from test_no_endless_wait import are_gone

import moganet
import moganet_cli
from moganet.batch import by_ray, parts, run
from moganet.batch.run import batch
from moganet.data.within import Within
from moganet.errors import ConfigError, MissingExtraError, OutputError, WorkerError
from moganet.ray_cluster import connected

pytest.importorskip("ray.data", reason="the extra scale is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # what Ray, pandas and grpc say of themselves
__all__ = ["photos"]
WORKERS = 2


@dataclass(frozen=True)
class Deadly:
    """A reader whose image kills the process that reads it, but for this one."""

    path: Path
    asked: int  # the process that lives on
    in_turn: ClassVar[bool] = False

    def read(self, place):
        if os.getpid() != self.asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.path.read_bytes()


@pytest.fixture(scope="module")
def small():
    return str(exported("openvino"))  # which starts without torch


@pytest.fixture(scope="module")
def ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # of the class above
        with connected(None, WORKERS) as ray:
            yield ray


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 8)
    monkeypatch.setattr(run, "BATCHES", 1)


def answered(small, photos, out, engine, **options):
    return batch(small, str(photos), out, engine=engine, batch_size=4, **options)


def test_workers_give_the_rows_of_one_process_and_go_on_with_what_it_began(
    ray, small, photos, tmp_path, monkeypatch, capsys
):
    local = answered(small, photos, tmp_path / "local", "local")
    line = ["batch", small, str(photos), "--out", str(tmp_path / "ray"), "--engine", "ray", "--model-batch", "4"]
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*line, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert end.value.code == 3 and rows(tmp_path / "ray") == rows(tmp_path / "local")  # to the last bit
    same = ("images", "done", "unreadable", "before", "finished", "sha256", "runtime", "first_unreadable")
    plain = json.loads(json.dumps(local.plain()))
    assert {name: result[name] for name in same} == {name: plain[name] for name in same}
    names = sorted(path.name for path in (tmp_path / "ray").iterdir() if not path.name.endswith(".lock"))
    assert names == ["_SUCCESS", "_batch.json", *(f"part-{i:06d}.parquet" for i in range(result["files"]))]

    write, written = parts.Parts.write, []

    def stopped(self, some):
        if written:
            raise OutputError("can't write x: No space left on device")
        written.append(len(some))
        write(self, some)

    monkeypatch.setattr(parts.Parts, "write", stopped)
    with pytest.raises(OutputError):
        answered(small, photos, tmp_path / "both", "local")
    monkeypatch.setattr(parts.Parts, "write", write)
    monkeypatch.setattr(by_ray, "connected", None)
    with pytest.raises(TypeError):  # as a driver that dies
        answered(small, photos, tmp_path / "both", "ray")
    monkeypatch.setattr(by_ray, "connected", connected)
    (tmp_path / "both" / ".part-0123.partial.parquet").write_bytes(b"cut")  # a draft that nobody took
    more = answered(small, photos, tmp_path / "both", "ray", workers=1)
    assert (more.before, more.done) == (written[0], NUMBER - written[0]) and more.finished
    assert rows(tmp_path / "both") == rows(tmp_path / "local")
    assert not list((tmp_path / "both").glob(".*partial*"))
    assert answered(small, photos, tmp_path / "both", "local").done == 0


@pytest.mark.slow  # a worker starts nine times
def test_an_image_at_which_workers_die_is_named_and_the_rest_is_written(ray, small, photos, tmp_path, monkeypatch):
    files, missing = run.list_inputs(str(photos))
    deadly = Within(files[9], 0, "deadly.png", Deadly, asked=os.getpid())
    monkeypatch.setattr(by_ray, "RETRIES", 0)
    monkeypatch.setattr(run, "list_inputs", lambda named: ([*files[1:16], deadly, files[0]], missing))
    with pytest.raises(WorkerError, match=r"1 image not done: .* died each time \(deadly\.png\)"):
        answered(small, photos, tmp_path / "out", "ray")
    assert len(rows(tmp_path / "out")) == 16 and not (tmp_path / "out" / "_SUCCESS").exists()
    assert answered(small, photos, tmp_path / "out", "local").done == 1 and len(rows(tmp_path / "out")) == 17


def test_a_worker_that_sees_something_else_says_so(ray, small, photos, tmp_path, monkeypatch):
    answer = by_ray.answer_by_ray

    def elsewhere(job, *others):
        return answer(replace(job, out=tmp_path / "elsewhere"), *others)

    monkeypatch.setattr(by_ray, "answer_by_ray", elsewhere)
    with pytest.raises(OutputError, match=r"does not see .*elsewhere"):
        answered(small, photos, tmp_path / "out", "ray")


def test_no_ray_no_cluster_and_no_names_are_one_line(small, photos, tmp_path, monkeypatch, capsys):
    def refused(*more):
        with pytest.raises(SystemExit) as end:
            moganet_cli.main(["batch", small, str(photos), "--out", str(tmp_path / "out"), *more])
        said = capsys.readouterr()
        assert end.value.code == 2 and not said.out
        return said.err.splitlines()[-1]

    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        begun = time.monotonic()
        assert "no cluster of Ray answers at" in refused("--engine", "ray", "--address", address)
        assert time.monotonic() - begun < 20
    assert "is no address" in refused("--engine", "ray", "--address", "nowhere")
    assert "--engine ray" in refused("--address", "127.0.0.1:1")
    assert "at least 1" in refused("--engine", "ray", "--workers", "0")
    with pytest.raises(ConfigError, match="give its name or file, not a Predictor"):
        batch(moganet.load(small), str(photos), tmp_path / "x", engine="ray")
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingExtraError, match=r"--engine ray needs ray: pip install 'moganet\[scale\]'"):
        answered(small, photos, tmp_path / "x", "ray")


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", ["local", "ray"])
def test_a_driver_that_is_ended_leaves_no_process_and_nothing_is_done_twice(end, again, small, tmp_path):
    named = many(tmp_path / "photos")
    whole = answered(small, named, tmp_path / "whole", "local")
    out = tmp_path / "out"
    line = ["batch", small, named, "--out", out, "--engine", "ray", "--model-batch", 4, "--workers", WORKERS]
    process = command(*line, leads=True)
    while len(list(out.glob("part-*.parquet"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    started = below(process.pid)
    process.send_signal(end)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[end]
    # Of a driver that could say nothing two agents of Ray's stay for a minute, until they look whether it is there.
    assert started and are_gone(started, 120 if end == signal.SIGKILL else 20)
    there = len(rows(out))
    assert there < whole.done
    more = answered(small, named, out, again)
    assert (more.before, more.done) == (there, whole.done - there) and rows(out) == rows(tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(small, tmp_path):
    named = many(tmp_path / "photos")
    answered(small, named, tmp_path / "whole", "local")
    out = tmp_path / "out"
    process = command("batch", small, named, "--out", out, "--engine", "ray", "--model-batch", 4, "--workers", WORKERS)
    while len(list(out.glob("part-*.parquet"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    workers = [pid for pid, name in below(process.pid).items() if name.startswith("ray::") and "Worker" in name]
    os.kill(workers[0], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 0 and rows(out) == rows(tmp_path / "whole") and (out / "_SUCCESS").exists()


def many(folder, number=6000):
    """Make a folder of links to a few pictures."""
    from PIL import Image
    from small_model import pictures

    folder.mkdir()
    for i, picture in enumerate(pictures()):
        Image.fromarray(picture).save(folder / f"{i:05d}.png")
    for i in range(len(pictures()), number):
        (folder / f"{i:05d}.png").symlink_to(folder / f"{i % len(pictures()):05d}.png")
    return str(folder)


def below(process):
    """Give the processes that one has started, and those that these have, with their names."""
    found, before = {process: ""}, 0
    while len(found) > before:
        before = len(found)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in found:
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return {number: name for number, name in found.items() if number != process}
