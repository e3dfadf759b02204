"""Batches by one process and by Ray's workers: CIFAR-10's test images as PNGs and as shards, a process a command.

Usage: python benchmarks/batch_engines.py [--images 10000] [--rounds 5] [--photos 48] [--data cifar10:ARCHIVE]
       [--only equal rates killed cold memory]

Says whether `predict`, `batch --engine local` and `batch --engine ray` give equal answers, of files and of shards, to
the last bit; their images a second in turns, in whole and while they write; what is there after a worker or the driver
was killed half way, and after the run was begun again; what shards give with nothing in the system's cache; and the
memory of each process, with photographs of 24 megapixels. Writes results/batch_engines.json, in which parts stay that
were measured by the same numbers on the same machine. Linux.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from batch_memory import make_photographs
from PIL import Image
from service import memory
from sides import below, processes

import moganet
from moganet.engine.doctor import environment

MODEL, WORKERS = "moganet_nano.cifar10", 2
RESULTS = Path(__file__).parent / "results"
MACHINE = ("packages", "processor", "usable_cores", "threads", "memory_gb")
LEFT = 90.0  # seconds within which no process of a killed run may be left
WHOLE = "[!.]*.parquet"  # a killed driver's drafts, which begin with a dot, are nobody's answers
_numbers = count()


class Place:
    """A folder with the images, as PNGs and as shards, and with what is written about them."""

    def __init__(self, folder: Path, data: str, images: int) -> None:
        self.folder, self.photos, self.shards = folder, folder / "photos", folder / "shards"
        split = moganet.open_data(data).split("test")
        names = moganet.open_data(data).class_names
        for i in range(min(images, len(split))):
            sample = split[i]
            path = self.photos / names[int(sample.target)] / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(path)
        moganet.make_shards(f"folder:{self.photos}", self.shards)

    def out(self) -> Path:
        """Give a new folder's name."""
        return self.folder / f"out-{next(_numbers)}"


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "moganet", *map(str, words), "--json", "--quiet"]


def batch(engine: str, named: object, out: Path, *more: object) -> list[str]:
    workers = ("--workers", WORKERS) if engine == "ray" else ()
    return command("batch", MODEL, named, "--out", out, "--engine", engine, *workers, *more)


def ran(words: Sequence[str]) -> dict[str, Any]:
    """Run a command to its end, and give its result with its own seconds, start and all."""
    begun = time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout), "whole_seconds": time.perf_counter() - begun}


def rows(out: Path) -> dict[str, Any]:
    """Give an image's answer by its number, and fail where one stands twice."""
    found = [row for path in sorted(out.glob(WHOLE)) for row in parquet.read_table(path).to_pylist()]
    by_number = {row["file"].rpartition(".")[0][-5:]: (row["classes"], row["rejected"]) for row in found}
    assert len(by_number) == len(found), "an image stands twice"
    return by_number


def equal_answers(place: Place) -> dict[str, Any]:
    """Compare the answers of all ways, each float to its last bit."""
    predicted = place.folder / "predict"
    predicted.mkdir()
    ran(command("predict", MODEL, place.photos, "--truth", "none", "--out", predicted / "rows.parquet"))
    expected, found = rows(predicted), dict[str, int]()
    for engine in ("local", "ray"):
        for kind, named in (("files", place.photos), ("shards", f"shards:{place.shards}")):
            out = place.out()
            ran(batch(engine, named, out))
            given = rows(out)
            found[f"{engine}, {kind}"] = sum(given.get(number) != answer for number, answer in expected.items())
            assert given.keys() == expected.keys()
    return {"images": len(expected), "unlike_predict": found}


def steady(out: Path) -> float:
    """Give the images a second of a run while it wrote: the slope of what was there by the time."""
    parts = sorted((path.stat().st_mtime, parquet.read_metadata(path).num_rows) for path in out.glob(WHOLE))
    times, there = [at for at, _ in parts], np.cumsum([number for _, number in parts])
    return float(np.polyfit(np.array(times) - times[0], there, 1)[0])


def rates(place: Place, rounds: int) -> dict[str, Any]:
    """Time the ways in turns, in whole, with start and end, and while they write."""
    images = len(list(place.photos.rglob("*.png")))
    taken: dict[str, list[float]] = {"predict": [], "local": [], "ray": []}
    writing: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(rounds):
        for name in sorted(taken, reverse=bool(turn % 2)):
            out = place.out()
            words = batch(name, place.photos, out)
            if name == "predict":
                words = command("predict", MODEL, place.photos, "--truth", "none", "--out", f"{out}.parquet")
            taken[name].append(ran(words)["whole_seconds"])
            if name in writing:
                writing[name].append(steady(out))
    found: dict[str, Any] = {
        name: {"seconds": [round(one, 2) for one in some], "images_per_second": round(images / median(some), 1)}
        for name, some in taken.items()
    }
    for name, some in writing.items():
        found[name]["while_writing"] = round(median(some), 1)
    for what in ("images_per_second", "while_writing"):
        found[f"ray / local, {what}"] = round(found["ray"][what] / found["local"][what], 3)
    return found


def workers_of(process: int) -> list[int]:
    return [number for number, name in below(process).items() if name.startswith("ray::") and "Worker" in name]


@contextlib.contextmanager
def half_way(place: Place, engine: str, images: int) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Give a run that has written half of the images, and its folder."""
    out = place.out()
    with subprocess.Popen(batch(engine, place.photos, out), stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None and sum(1 for _ in out.glob("part-*.parquet")) * 512 < images / 2:
            time.sleep(0.02)
        yield process, out


def after_kills(place: Place, images: int) -> dict[str, Any]:
    """Kill a worker, the driver, and the driver by Ctrl-C; say what is there, and what a second run does."""
    whole, found = place.out(), dict[str, Any]()
    ran(batch("local", place.photos, whole))
    expected = rows(whole)
    with half_way(place, "ray", images) as (process, out):
        killed = workers_of(process.pid)[0]
        os.kill(killed, signal.SIGKILL)
        result = json.loads(process.communicate()[0])
    assert rows(out) == expected
    found["a worker, kill -9"] = {"exit": process.returncode, "done": result["done"], "rows": len(rows(out))}
    for name, number, again in (
        ("the driver, kill -9", signal.SIGKILL, "ray"),
        ("the driver, kill -9, then local", signal.SIGKILL, "local"),
        ("the driver, Ctrl-C", signal.SIGINT, "ray"),
    ):
        with half_way(place, "ray", images) as (process, out):
            started = below(process.pid)
            begun = time.monotonic()
            process.send_signal(number)
            process.wait()
            ended = time.monotonic() - begun
            while (left := started.keys() & processes().keys()) and time.monotonic() - begun < LEFT:
                time.sleep(0.05)
            gone = time.monotonic() - begun
        there = len(rows(out))
        second = ran(batch(again, place.photos, out))
        assert rows(out) == expected
        found[name] = {
            "exit": process.returncode,
            "seconds_to_the_end": round(ended, 2),
            "processes": len(started),
            "left_behind": len(left),
            "seconds_until_all_were_gone": round(gone, 2),
            "rows_there": there,
            "done_by_the_second": second["done"],
            "rows": len(rows(out)),
        }
    return found


def forget_cache(folder: Path) -> str:
    """Let the system forget what it has read of a folder; say how."""
    os.sync()
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return "drop_caches"
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return "posix_fadvise, which leaves folders' entries in the cache"


def cold(place: Place, rounds: int) -> dict[str, Any]:
    """Compare PNGs with shards where nothing of them is in the cache: reading alone, and a batch."""

    def read(folder: Path) -> float:
        forget_cache(folder)
        begun = time.perf_counter()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                path.read_bytes()
        return time.perf_counter() - begun

    def answer(named: object, folder: Path) -> float:
        forget_cache(folder)
        return float(ran(batch("local", named, place.out()))["whole_seconds"])

    sides = {"files": (place.photos, place.photos), "shards": (f"shards:{place.shards}", place.shards)}
    taken: dict[str, list[float]] = {f"{what}, {name}": [] for what in ("read", "batch") for name in sides}
    for _ in range(rounds):
        for name, (named, folder) in sides.items():
            taken[f"read, {name}"].append(read(folder))
            taken[f"batch, {name}"].append(answer(named, folder))
    seconds = {name: round(median(some), 3) for name, some in taken.items()}
    ratios = {what: round(seconds[f"{what}, files"] / seconds[f"{what}, shards"], 2) for what in ("read", "batch")}
    return {"forgotten_by": forget_cache(place.folder), "seconds": seconds, "times_as_fast": ratios}


def kind_of(name: str) -> str:
    """Say what a process is to Ray."""
    if name.startswith("ray::"):
        return "worker" if "Worker" in name else "ray's helpers"
    return next((kind for kind in ("raylet", "gcs_server") if kind in name.partition(" ")[0]), "ray's agents")


def memories(folder: Path, number: int) -> dict[str, Any]:
    """Give the most memory in MB of each process in each quarter of a run over photographs."""
    photos = folder / "large"
    photos.mkdir()
    make_photographs(photos, number)
    found = dict[str, Any]()
    for engine in ("local", "ray"):
        seen: dict[str, list[tuple[float, float]]] = {}
        words = batch(engine, photos, folder / f"large-{engine}", *(("--batch-size", 4) if number < 64 else ()))
        begun = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                for pid, name in {process.pid: "", **below(process.pid)}.items():
                    kind = "driver" if pid == process.pid else f"{kind_of(name)} {pid}"
                    with contextlib.suppress(OSError, StopIteration):
                        seen.setdefault(kind, []).append((time.perf_counter() - begun, memory(pid)))
                time.sleep(0.1)
            result = json.loads(process.communicate()[0])
        seconds, names = time.perf_counter() - begun, dict[str, list[int]]()
        for i, (kind, some) in enumerate(sorted(seen.items())):
            quarters = [[mb for at, mb in some if 4 * at // seconds == quarter] for quarter in range(4)]
            label = kind if kind == "driver" else f"{kind.rpartition(' ')[0]} {i}"
            names[label] = [round(max(one, default=0.0)) for one in quarters]
        found[engine] = {"photographs": result["done"], "seconds": round(seconds, 1), "most_mb_by_quarter": names}
    return found


MEASURES: dict[str, Callable[[Place, argparse.Namespace], dict[str, Any]]] = {
    "equal": lambda place, asked: equal_answers(place),
    "rates": lambda place, asked: rates(place, asked.rounds),
    "killed": lambda place, asked: after_kills(place, asked.images),
    "cold": lambda place, asked: cold(place, asked.rounds),
    "memory": lambda place, asked: memories(place.folder, asked.photos),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=[*MEASURES])
    asked = parser.parse_args()
    path, machine = RESULTS / "batch_engines.json", environment().plain()
    found: dict[str, Any] = {"images": asked.images, "rounds": asked.rounds, "workers": WORKERS}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if found.items() <= before.items() and all(before["environment"][name] == machine[name] for name in MACHINE):
        found = before
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), asked.data, asked.images)
        for name in asked.only:
            found[name] = MEASURES[name](place, asked)
            print(name, json.dumps(found[name], indent=1), file=sys.stderr, flush=True)
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps({**found, "environment": machine}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
