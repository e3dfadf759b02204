"""Time the service against LitServe with the same model and the same decoding, in turns, over HTTP on this machine.

LitServe answers by the Predictor in a process of its own, one image at a time and in batches. For each concurrency:
images a second, processors' time an image, and latency; and the memory of all processes of each. Images are sent in
JSON, which both take. Writes service_against_litserve.json.
Usage: python benchmarks/service_against_litserve.py [--seconds 20] [--rounds 3] (needs pip install litserve)
"""

import argparse
import base64
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from service import BROKEN, draw, load, memory, processor_time, save_model, served
from sides import write

CLIENTS = (1, 8, 32)
API = """
import base64
import sys
import litserve
import moganet
from moganet.data.read import read_pixels
from moganet.data.resample import normalize, resize_and_crop
from moganet.tasks.task import Asked
import numpy as np

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = moganet.load(sys.argv[1])
    def decode_request(self, request):
        own = self.model.config.preprocessing
        return normalize(resize_and_crop(read_pixels(base64.b64decode(request["image"])), own)[None], own)[0]
    def batch(self, inputs):
        return np.stack(inputs)
    def predict(self, x):
        return self.model.outputs(x if x.ndim == 4 else x[None], judged=True)
    def unbatch(self, outputs):
        number = len(outputs["logits"])
        return [{name: values[i : i + 1] for name, values in outputs.items()} for i in range(number)]
    def encode_response(self, outputs):
        (answer,) = self.model.answers(outputs, Asked())
        return {"predictions": [self.model.task.row("image 1", answer, None, trained=True).plain()]}

if __name__ == "__main__":
    size = int(sys.argv[3])
    batches = {"max_batch_size": size, "batch_timeout": 0.001} if size > 1 else {}
    api = Api(api_path="/v1/predict", **batches)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[4]), timeout=60).run(
        port=int(sys.argv[2]), generate_client_file=False, log_level="error", host="127.0.0.1"
    )
"""


FORMS = {"LitServe, one by one": ("1", "1"), "LitServe, batches": ("16", "1"), "LitServe, two workers": ("1", "2")}


@contextlib.contextmanager
def litserved(model: Path, size: str, workers: str) -> Iterator[tuple[int, int]]:
    """Run LitServe; give its port and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = model.with_name("api.py")
    script.write_text(API, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script), str(model), str(port), size, workers]) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    if answer.status == 200:
                        break
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.terminate()


def family(process: int) -> set[int]:
    """Give a process and all that it started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.split()[2:]
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    own = {process}
    while more := {child for child, parent in parents.items() if parent in own} - own:
        own |= more
    return own


def total(of: Callable[[int], float], process: int) -> float:
    """Add up a figure of a process and of all that it started."""
    found = 0.0
    for one in family(process):
        with contextlib.suppress(OSError, StopIteration):  # of one that has ended
            found += of(one)
    return found


def main() -> None:
    """Measure all forms in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        path = Path(place, "xtiny.safetensors")
        save_model(path)
        files = [file for number, file in enumerate(draw(Path(place))) if number % BROKEN != BROKEN - 1]
        bodies = [json.dumps({"image": base64.b64encode(file.read_bytes()).decode()}).encode() for file in files]
        with served(path):  # from then on the model is known, and needs no torch in either
            pass
        running = {"the service": stack.enter_context(served(path))}
        running |= {name: stack.enter_context(litserved(path, *form)) for name, form in FORMS.items()}
        found: dict[str, Any] = {name: {"memory_mb": 0.0} for name in running}
        for clients in CLIENTS:
            heard: dict[str, list[Any]] = {name: [] for name in running}
            taken = dict.fromkeys(running, 0.0)
            for number in range(asked.rounds + 1):  # the first is not counted
                for name, (port, process) in running.items():
                    before = total(processor_time, process)
                    one = load(port, bodies, [None] * len(bodies), clients, asked.seconds, "application/json")
                    heard[name] += [one] * bool(number)
                    taken[name] += (total(processor_time, process) - before) * bool(number)
            for name, some in heard.items():
                seconds = sorted(second for one in some for second in one.seconds)
                found[name][f"concurrency {clients}"] = {
                    "images_per_second": median(one.images for one in some) / asked.seconds,
                    "processor_ms_an_image": 1e3 * taken[name] / max(1, sum(one.images for one in some)),
                    "p50_ms": 1e3 * median(seconds),
                    "p95_ms": 1e3 * quantiles(seconds, n=20)[-1],
                }
        for name, (_, process) in running.items():
            found[name]["memory_mb"] = total(memory, process)
    write(__file__, {"model": "moganet_xtiny, 224 px", "seconds": asked.seconds, "rounds": asked.rounds, **found})


if __name__ == "__main__":
    main()
