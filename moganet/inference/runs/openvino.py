"""OpenVINO models, and what their files say of themselves; without torch."""

import html
import os
import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from moganet.errors import ConfigError, foreign
from moganet.inference.metadata import METADATA_KEY, Written, blocks, hash_of, need
from moganet.inference.runs import Array, Outputs, Run
from moganet.inference.threads import Guard, OncePerProcess, num_threads

SUFFIX = ".xml"  # its weights lie beside it, as .bin
# Pixels at a time: what two images of 224x224 have stays in the caches (52 images/s for 32 at once, 60 for two).
PIXELS = 2 * 224 * 224
METADATA = re.compile(rb"(<" + METADATA_KEY.encode() + rb'\s+value=")([^"]*)("\s*/>)')
MAX_XML = 64 << 20  # bytes


def hash_of_files(text: bytes, weights: Path) -> str:
    """Give the hash of both files, the metadata left out."""
    plain = METADATA.sub(lambda found: found[1] + found[3], text)
    with open(weights, "rb") as file:
        return hash_of(chain([plain], blocks(file, weights.stat().st_size)))


def _core() -> Any:
    core, process = _core_of_process()
    if process != os.getpid():
        raise ConfigError("OpenVINO can't be used in a process forked from one that used it; use spawn instead of fork")
    return core


@cache
def _core_of_process() -> tuple[Any, int]:
    """Give the process its one core, which lives as long as it does.

    Its CPU plugin gives the thread a stack for signals; of two plugins, the first to go would take the stack with it
    that the second restores later, and the next signal (Ctrl-C, a worker's end) would be a segmentation fault.
    """
    return need("openvino", "the runtime openvino").Core(), os.getpid()


def read(path: Path) -> Written:
    """Give what was written: from the .xml as text, since OpenVINO may fall over one that is damaged."""
    with foreign(f"{path} is no whole OpenVINO model"):
        if path.stat().st_size > MAX_XML:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        text = path.read_bytes()
        found = METADATA.search(text)
        if found is None:
            return Written("", "")
        return Written(html.unescape(found[2].decode()), hash_of_files(text, path.with_suffix(".bin")))


def load(path: Path, precision: str, outputs: Sequence[str]) -> Run:
    """Run the file with OpenVINO on the CPU."""
    need("openvino", f"running {path.name}")
    with foreign(f"OpenVINO can't load {path}"):
        # Not mapped: a file that is replaced while it is used would end the process.
        return OpenVinoRun(_core().read_model(path, config={"ENABLE_MMAP": False}), precision, outputs)


class OpenVinoRun:
    """Run a model on the CPU: few images with all threads each, many in parallel streams.

    Both forms are compiled when they are first needed, and compute for one caller at a time: what is written into a
    request is one caller's images, and its threads are all that there are. Nothing is kept on disk of what was
    compiled: it saves a tenth of a second, and OpenVINO does not notice where it is damaged.
    """

    def __init__(self, model: Any, precision: str, outputs: Sequence[str]) -> None:
        self.openvino = need("openvino", "the runtime openvino")
        self.core, self.model, self.guard, self.outputs = _core(), model, Guard(), tuple(outputs)
        # f32 must be asked for: where the processor has bf16, OpenVINO would choose that.
        self.options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        self.compiled: dict[str, Any] = {}
        self.few = OncePerProcess(lambda: self._compile("LATENCY").create_infer_request())
        self.many = OncePerProcess(lambda: self.openvino.AsyncInferQueue(self._compile("THROUGHPUT")))
        self.process = os.getpid()

    def __call__(self, images: Array) -> Outputs:
        images = np.ascontiguousarray(images)
        height, width = images.shape[1:3] if images.dtype == np.uint8 else images.shape[2:4]
        at_once = max(1, PIXELS // (height * width))
        with self.guard, foreign("OpenVINO can't run this model"):
            if len(images) > at_once and num_threads() > 1:
                return self._joined(self._in_streams(images, at_once))
            request = self.few.get()
            found = []
            for start in range(0, len(images), at_once):
                request.infer({0: images[start : start + at_once]})
                found.append(self._of(request))
            return self._joined(found)

    def _of(self, request: Any) -> list[Array]:
        return [request.get_output_tensor(number).data.copy() for number in range(len(self.outputs))]

    def _joined(self, parts: list[list[Array]]) -> Outputs:
        return {name: np.concatenate(some) for name, some in zip(self.outputs, zip(*parts, strict=True), strict=True)}

    def _in_streams(self, images: Array, at_once: int) -> list[list[Array]]:
        queue = self.many.get()
        at_once = min(at_once, -(-len(images) // len(queue)))
        found: dict[int, list[Array]] = {}
        queue.set_callback(lambda request, start: found.update({start: self._of(request)}))
        for start in range(0, len(images), at_once):
            queue.start_async({0: images[start : start + at_once]}, start)
        queue.wait_all()
        return [found[start] for start in sorted(found)]

    def _compile(self, hint: str) -> Any:
        if hint not in self.compiled:
            if os.getpid() != self.process:  # it would wait for its parent's threads
                raise ConfigError("OpenVINO can't be made ready in a forked process; load the model there or use spawn")
            options = {"INFERENCE_NUM_THREADS": num_threads(), "PERFORMANCE_HINT": hint}
            self.compiled[hint] = self.core.compile_model(self.model, "CPU", {**self.options, **options})
        return self.compiled[hint]
