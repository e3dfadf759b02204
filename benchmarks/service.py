"""Load a service with JPEGs of several sizes, a tenth of them broken; client and server share this machine.

For each concurrency: images a second against `predict` of the same files in the same run, latency against decoding and
the bare network (concurrency 1), answers by code, lost ones, whether answers are bit-equal to `predict`'s, and the
server's memory. Writes service.json. Usage: python benchmarks/service.py [--seconds 600] [--concurrency 1 8 32]
"""

import argparse
import contextlib
import http.client
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from inference import predictor
from PIL import Image
from sides import update

import moganet
from moganet.inference import Predictor

SIZES = ((320, 240), (500, 375), (800, 600), (1600, 1200))
FILES, CLASSES = 40, 1000
BROKEN = 10  # one of so many


@dataclass
class Heard:
    """What clients heard: seconds by file, codes, requests without an answer, and answers unlike those expected."""

    seconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    images: int = 0
    lost: int = 0
    unlike: int = 0


def draw(folder: Path) -> list[Path]:
    """Write the files, photograph-like; every tenth is cut off."""
    generator, files = np.random.default_rng(0), []
    for number in range(FILES):
        width, height = SIZES[number % len(SIZES)]
        shapes = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((width, height))
        pixels = np.asarray(shapes) + generator.normal(0, 8, (height, width, 3))
        content = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=90)
        files.append(folder / f"{number:02d}.jpg")
        whole = content.getvalue()
        files[-1].write_bytes(whole[: len(whole) // 3] if number % BROKEN == BROKEN - 1 else whole)
    return files


def save_model(path: Path) -> Predictor:
    """Write an untrained xtiny with names of classes; speed does not depend on the weights."""
    model = predictor("xtiny", "auto")
    names = tuple(f"class_{i}" for i in range(CLASSES))
    model.config = model.config.changed(task=model.config.task.changed(class_names=names))
    model.save(path)
    return model


@contextlib.contextmanager
def served(model: Path, *options: str) -> Iterator[tuple[int, int]]:
    """Run the service; give its port and its process."""
    command = [sys.executable, "-m", "moganet", "serve", str(model), "--port", "0", "--json", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            started = json.loads(process.stdout.readline())
            yield int(started["address"].rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def load(
    port: int, files: Sequence[bytes], expected: Sequence[Any], clients: int, seconds: float, kind: str = "image/jpeg"
) -> Heard:
    """Let so many clients ask one after the other, each over one connection, for some seconds.

    kind: the bodies' media type. expected: the classes that `predict` names for each.
    """
    heard, lock, turns = Heard(), threading.Lock(), itertools.count()
    end = time.monotonic() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.monotonic() < end:
            number = next(turns) % len(files)
            begin = time.perf_counter()
            try:
                connection.request("POST", "/v1/predict", files[number], {"content-type": kind})
                answer = connection.getresponse()
                found = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                with lock:
                    heard.lost += 1
                continue
            took = time.perf_counter() - begin
            rows = found.get("predictions", [])
            with lock:
                heard.codes[answer.status] += 1
                heard.images += len(rows)
                heard.unlike += [row["classes"] for row in rows] != expected[number]
                heard.seconds += [took] * bool(rows)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


def rates(model: Predictor, readable: Sequence[Path], rounds: int = 3) -> tuple[float, float]:
    """Give the images a second of `predict` over the files, and the milliseconds of processors that one takes."""
    taken, own = [], time.process_time()
    for _ in range(rounds):
        begin = time.perf_counter()
        moganet.predict(model, readable)
        taken.append(time.perf_counter() - begin)
    own = (time.process_time() - own) / rounds
    return len(readable) / median(taken), 1e3 * own / len(readable)


def bare(model: Predictor, readable: Sequence[Path], seconds: float) -> list[float]:
    """Give the seconds of decoding and the network alone, for one image after the other."""
    taken, end = list[float](), time.monotonic() + seconds
    for file in itertools.cycle(readable):
        begin = time.perf_counter()
        model(file)
        taken.append(time.perf_counter() - begin)
        if time.monotonic() > end:
            return taken
    return taken


def memory(process: int, what: str = "VmRSS") -> float:
    """Give a process's resident memory, in MB; its peak by "VmHWM"."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1e3


def processor_time(process: int) -> float:
    """Give the seconds of processors that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """Notes a process's memory each second."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.ended, self.found = process, threading.Event(), list[float]()

    def run(self) -> None:
        """Note it until the end."""
        while not self.ended.wait(1.0):
            self.found.append(memory(self.process))


def figures(heard: Heard, seconds: float, rate: float, watch: Watch) -> dict[str, Any]:
    """Say what one concurrency gave."""
    settled = watch.found[min(60, len(watch.found) // 2) :]
    return {
        "images_per_second": heard.images / seconds,
        "share_of_predict": heard.images / seconds / rate,
        "p50_ms": 1e3 * median(heard.seconds),
        "p95_ms": 1e3 * quantiles(heard.seconds, n=20)[-1],
        "codes": dict(sorted(heard.codes.items())),
        "lost": heard.lost,
        "unlike_predict": heard.unlike,
        "memory_mb": {"settled": settled[0], "end": settled[-1], "growth": settled[-1] / settled[0] - 1},
    }


def main() -> None:
    """Measure each concurrency."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        files = draw(Path(place))
        model = save_model(Path(place, "xtiny.safetensors"))
        readable = [file for number, file in enumerate(files) if number % BROKEN != BROKEN - 1]
        found = {
            row.file: json.loads(json.dumps(row.plain()))["classes"]
            for row in moganet.predict(model, readable).predictions
        }
        expected = [[found[str(file)]] if str(file) in found else [] for file in files]
        contents = [file.read_bytes() for file in files]
        with served(Path(place, "xtiny.safetensors")) as (port, process):
            load(port, contents, expected, 4, 2)
            for clients in asked.concurrency:
                before, _ = rates(model, readable)
                alone = bare(model, readable, min(10.0, asked.seconds)) if clients == 1 else []
                watch = Watch(process)
                watch.start()
                server, client, begin = processor_time(process), time.process_time(), time.monotonic()
                heard = load(port, contents, expected, clients, asked.seconds)
                took = time.monotonic() - begin
                watch.ended.set()
                server, client = processor_time(process) - server, time.process_time() - client
                after, own = rates(model, readable)
                rate = (before + after) / 2
                result: dict[str, Any] = {
                    "seconds": took,
                    "predict_images_per_second": rate,
                    **figures(heard, took, rate, watch),
                }
                result["processor_ms_an_image"] = {
                    "predict": own,
                    "service": 1e3 * server / heard.images,
                    "clients": 1e3 * client / heard.images,
                }
                if alone:
                    own = 1e3 * quantiles(alone, n=20)[-1]
                    result |= {"decode_and_network_p95_ms": own, "p95_ratio": result["p95_ms"] / own}
                update(__file__, f"concurrency {clients}", result)


if __name__ == "__main__":
    main()
