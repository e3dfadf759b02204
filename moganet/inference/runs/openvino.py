"""OpenVINO models, and what their files say of themselves; without torch."""

import html
import io
import os
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from moganet.compat import cpu_capability, import_openvino
from moganet.errors import ConfigError, foreign
from moganet.inference.blobs import keep_blob, recall_blob
from moganet.inference.metadata import METADATA_KEY, Written, blocks, hash_of, need
from moganet.inference.runs import Array, Outputs, Run, Sizes, one_by_one
from moganet.inference.threads import Guard, OncePerProcess
from moganet.machine import num_cores
from moganet.processors import num_threads

SUFFIX = ".xml"  # its weights lie beside it, as .bin
# Images of one request: what 64x64 pixels of 16 have, or one of 224x224, stays in the caches.
PIXELS, MOST = 2**16, 16
METADATA = re.compile(rb"(<" + METADATA_KEY.encode() + rb'\s+value=")([^"]*)("\s*/>)')
MAX_XML = 64 << 20  # bytes
PROCESSOR = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")


def hash_of_files(text: bytes, weights: Path) -> str:
    """Give the hash of both files, the metadata left out."""
    plain = METADATA.sub(lambda found: found[1] + found[3], text)
    with open(weights, "rb") as file:
        return hash_of(chain([plain], blocks(file, weights.stat().st_size)))


def _openvino(what: str) -> Any:
    with suppress(ImportError):
        import_openvino()
    return need("openvino", what)


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
    return _openvino("the runtime openvino").Core(), os.getpid()


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


def load(path: Path, precision: str, outputs: Sequence[str], identity: str = "") -> Run:
    """Run the file with OpenVINO on the CPU. identity: of its content, by which what is compiled of it is kept."""
    _openvino(f"running {path.name}")
    with foreign(f"OpenVINO can't load {path}"):
        # Not mapped: a file that is replaced while it is used would end the process.
        model = _core().read_model(path, config={"ENABLE_MMAP": False})
        kind = OpenVinoRun if len(model.inputs) == 1 else EachRun
        return kind(model, precision, outputs, identity)


class OpenVinoRun:
    """Run a model on the CPU: few images one by one with all threads, many in parallel streams.

    Where the model's size of image is fixed, both forms are compiled for a fixed number of images, with which OpenVINO
    plans its memory ahead and answers 1.1 to 1.3 times as fast as with a free one; what lacks to it is filled up.
    Both are compiled when they are first needed, and compute for one caller at a time: what is written into a
    request is one caller's images, and its threads are all that there are. For another number of threads they are
    compiled again. Of a model with an identity, what was compiled is kept on disk.
    """

    def __init__(self, model: Any, precision: str, outputs: Sequence[str], identity: str = "") -> None:
        self.openvino = _openvino("the runtime openvino")
        self.core, self.model, self.guard, self.outputs = _core(), model, Guard(), tuple(outputs)
        self.identity = identity
        # f32 must be asked for: where the processor has bf16, OpenVINO would choose that.
        self.options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        self.compiled: dict[tuple[str, int], Any] = {}  # by hint and threads
        self.ready: dict[tuple[str, int], OncePerProcess[Any]] = {}
        self.image = _fixed_image(model)
        self.batch = 0 if self.image is None else at_once(*self.image[1:])  # 0: any
        self.process = os.getpid()

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        images = np.ascontiguousarray(images)
        with self.guard, foreign("OpenVINO can't run this model"):
            if self._are_few(len(images)):
                return self._joined([self._alone(images[i : i + 1]) for i in range(len(images))])
            joined = self._joined(self._in_streams(images))
            return {name: values[: len(images)] for name, values in joined.items()}

    def _are_few(self, number: int) -> bool:
        """Tell whether images are computed one by one: with more streams than images, threads would idle."""
        threads = num_threads()
        if self.process != os.getpid():  # a forked process has no threads that streams could be of
            return True
        return number <= max(1, threads // 2) or (threads == 1 and self.batch == 1)

    def _alone(self, image: Array) -> list[Array]:
        request = self._ready("LATENCY")
        request.infer({0: image})
        return self._of(request)

    def _of(self, request: Any) -> list[Array]:
        return [request.get_output_tensor(number).data.copy() for number in range(len(self.outputs))]

    def _joined(self, parts: list[list[Array]]) -> Outputs:
        return {name: np.concatenate(some) for name, some in zip(self.outputs, zip(*parts, strict=True), strict=True)}

    def _in_streams(self, images: Array) -> list[list[Array]]:
        """Compute parts in parallel; of a fixed batch the last one is filled up.

        No request calls back: a thread of OpenVINO's that asks for Python's lock while the process ends aborts it, and
        what a call back holds is never given free with its request.
        """
        requests, waiting, found = self._ready("THROUGHPUT"), deque[Any](), list[list[Array]]()
        number = self.batch or min(at_once(*_sides(images)), -(-2 * len(images) // len(requests)))
        try:
            for turn, start in enumerate(range(0, len(images), number)):
                if len(waiting) == len(requests):
                    found.append(self._finished(waiting.popleft()))
                request = requests[turn % len(requests)]
                request.start_async({0: _filled(images[start : start + number], self.batch)})
                waiting.append(request)
            while waiting:
                found.append(self._finished(waiting.popleft()))
        finally:  # after an error or an interrupt the others are still at work, and could not be started again
            for request in waiting:
                with suppress(RuntimeError):
                    request.wait()
        return found

    def _finished(self, request: Any) -> list[Array]:
        request.wait()
        return self._of(request)

    def _ready(self, hint: str) -> Any:
        """Give a request for one image, or some for many, with as many threads as compute now."""
        threads = num_threads()
        made = self.ready.setdefault((hint, threads), OncePerProcess(lambda: self._request(hint, threads)))
        return made.get()

    def _request(self, hint: str, threads: int) -> Any:
        compiled = self._compiled(hint, threads)
        if hint == "LATENCY":
            return compiled.create_infer_request()
        streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        return [
            compiled.create_infer_request() for _ in range(2 * streams)
        ]  # so that no stream waits for its next part

    def _compiled(self, hint: str, threads: int) -> Any:
        if os.getpid() != self.process:  # to compile, it would wait for its parent's threads
            known = [compiled for (name, _), compiled in self.compiled.items() if name == hint]
            if not known:
                raise ConfigError("OpenVINO can't be made ready in a forked process; load the model there or use spawn")
            return known[0]
        if (hint, threads) not in self.compiled:
            options = {**self.options, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": hint}
            if threads < num_cores():  # the others may be another process's, which would keep its threads on the same
                options["ENABLE_CPU_PINNING"] = False
            self.compiled[hint, threads] = self._known_or_compiled(options, 1 if hint == "LATENCY" else self.batch)
        return self.compiled[hint, threads]

    def _known_or_compiled(self, options: dict[str, Any], batch: int) -> Any:
        known = self.openvino.get_version(), *(str(self.core.get_property("CPU", name)) for name in PROCESSOR)
        key = repr([self.identity, known, cpu_capability(), sorted(options.items()), batch])
        if self.identity and (blob := recall_blob(key)) is not None:
            with suppress(RuntimeError):  # of a blob that it does not take
                return self.core.import_model(io.BytesIO(blob), "CPU", options)
        model = self.model
        if self.image is not None:
            model = model.clone()
            model.reshape([batch, *self.image])
        compiled = self.core.compile_model(model, "CPU", options)
        if self.identity:
            keep_blob(key, lambda: compiled.export_model().getvalue())
        return compiled


def at_once(height: int, width: int) -> int:
    """Give how many images of a size are computed at once by one stream, a power of two."""
    fitting = max(1, min(MOST, PIXELS // (height * width)))
    return 1 << (fitting.bit_length() - 1)


def _sides(images: Array) -> tuple[int, int]:
    height, width = images.shape[1:3] if images.dtype == np.uint8 else images.shape[2:4]
    return height, width


def _fixed_image(model: Any) -> tuple[int, int, int] | None:
    """Give the (C, H, W) of a model whose batch alone is free; None for another."""
    _, *image = model.inputs[0].get_partial_shape()
    if not all(side.is_static for side in image):
        return None
    channels, height, width = (int(side.get_length()) for side in image)
    return channels, height, width


def _filled(images: Array, batch: int) -> Array:
    """Fill images up to a batch with empty ones; 0 leaves them."""
    lack = max(0, batch - len(images))
    return np.concatenate([images, np.zeros((lack, *images.shape[1:]), images.dtype)]) if lack else images


class EachRun(OpenVinoRun):
    """Run a model that sees one image at a time, and is told its size."""

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        with self.guard, foreign("OpenVINO can't run this model"):
            request = self._ready("LATENCY")
            parts = []
            for image, size in one_by_one(images, sizes):
                request.infer({0: image, 1: size})
                parts.append(self._of(request))
            return self._joined(parts)
