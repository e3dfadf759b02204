"""Load the service with and without Ray in turns, then replicas that are killed; client and servers share this machine.

The load is that of service.py. For each concurrency: images a second and the median latency of both, a round each in
turns, and the processors' time of an image in all of a service's processes. Then a replica is killed again and again
while clients ask: answers by code, lost ones, whether all are bit-equal to `predict`'s, the longest wait, and how long
the replicas were fewer. Writes service_ray.json.
Usage: python benchmarks/service_ray.py [--seconds 10] [--rounds 5] [--concurrency 1 8 32] [--kills 5]
"""

import argparse
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from service import BROKEN, Heard, draw, load, processor_time, save_model, served
from sides import below, update

import moganet

REPLICAS = 2
EVERY, LONGEST = 6.0, 120.0  # seconds between two kills, and until a killed replica is replaced
TITLE = "ServeReplica"


class Asked(NamedTuple):
    """What is sent, and the classes that `predict` names for it."""

    contents: Sequence[bytes]
    expected: Sequence[Any]


def replicas_of(process: int) -> list[int]:
    """Give the processes of the replicas."""
    return [one for one, title in below(process).items() if TITLE in title]


def spent(process: int) -> float:
    """Give the processors' seconds of a service's processes."""
    total = 0.0
    for one in (process, *below(process)):
        with contextlib.suppress(OSError):
            total += processor_time(one)
    return total


def memory(process: int) -> float:
    """Give the megabytes of a service's processes, what they share counted once."""
    total = 0.0
    for one in (process, *below(process)):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3
    return total


def one_round(port: int, process: int, asked: Asked, clients: int, seconds: float) -> Mapping[str, float]:
    """Load a service for some seconds. Raises AssertionError for an answer that is lost, or not `predict`'s."""
    before, begin = spent(process), time.monotonic()
    heard = load(port, asked.contents, asked.expected, clients, seconds)
    took = time.monotonic() - begin
    assert not heard.lost and not heard.unlike and set(heard.codes) <= {200, 422}, heard
    return {
        "images_per_second": heard.images / took,
        "p50_ms": 1e3 * median(heard.seconds),
        "processor_ms_an_image": 1e3 * (spent(process) - before) / heard.images,
    }


def in_turns(
    services: Mapping[str, tuple[int, int]], asked: Asked, clients: int, rounds: int, seconds: float
) -> dict[str, Any]:
    """Give each service's figures: the medians of its rounds, and its memory at the end."""
    taken: dict[str, list[Mapping[str, float]]] = {name: [] for name in services}
    for turn in range(rounds + 1):
        for name, (port, process) in services.items():
            found = one_round(port, process, asked, clients, seconds)
            if turn:  # the first is not counted
                taken[name].append(found)
    medians: dict[str, Any] = {
        name: {key: median(one[key] for one in found) for key in found[0]} for name, found in taken.items()
    }
    for name, (_, process) in services.items():
        medians[name]["memory_mb"] = memory(process)
    rates = [one["images_per_second"] for one in medians.values()]
    return {**medians, "share_of_local": rates[1] / rates[0]}


def kill_under_load(port: int, process: int, asked: Asked, clients: int, kills: int) -> dict[str, Any]:
    """Kill a replica again and again while clients ask."""
    fewer = list[float]()

    def kill() -> None:
        for turn in range(kills):
            time.sleep(EVERY / 2)
            there = replicas_of(process)
            killed = there[turn % len(there)]
            os.kill(killed, signal.SIGKILL)
            begin = time.monotonic()
            while len({*replicas_of(process)} - {killed}) < REPLICAS:
                assert time.monotonic() - begin < LONGEST, f"a replica was not replaced within {LONGEST:.0f} s"
                time.sleep(0.05)
            fewer.append(time.monotonic() - begin)
            time.sleep(EVERY / 2)

    heard = Heard()
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        while not killing.done():
            merge(heard, load(port, asked.contents, asked.expected, clients, EVERY))
        killing.result()
    return {
        "kills": kills,
        "clients": clients,
        "codes": dict(sorted(heard.codes.items())),
        "lost": heard.lost,
        "unlike_predict": heard.unlike,
        "p50_ms": 1e3 * median(heard.seconds),
        "p95_ms": 1e3 * quantiles(heard.seconds, n=20)[-1],
        "longest_ms": 1e3 * max(heard.seconds),
        "seconds_with_fewer_replicas": fewer,
    }


def merge(heard: Heard, more: Heard) -> None:
    """Add what was heard in another round."""
    heard.seconds += more.seconds
    heard.codes += more.codes
    heard.images += more.images
    heard.lost += more.lost
    heard.unlike += more.unlike


def main() -> None:
    """Measure both, then kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8, help="while replicas are killed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        files, path = draw(Path(place)), Path(place, "xtiny.safetensors")
        model = save_model(path)
        readable = [file for number, file in enumerate(files) if number % BROKEN != BROKEN - 1]
        rows = moganet.predict(model, readable).predictions
        found = {row.file: json.loads(json.dumps(row.plain()))["classes"] for row in rows}
        expected = [[found[str(file)]] if str(file) in found else [] for file in files]
        asked = Asked([file.read_bytes() for file in files], expected)
        ray = ("--engine", "ray", "--replicas", str(REPLICAS))
        services = {
            "local": stack.enter_context(served(path)),
            "ray": stack.enter_context(served(path, *ray)),
        }
        for clients in given.concurrency:
            update(__file__, f"concurrency {clients}", in_turns(services, asked, clients, given.rounds, given.seconds))
        if given.kills:
            update(__file__, "killed", kill_under_load(*services["ray"], asked, given.clients, given.kills))


if __name__ == "__main__":
    main()
