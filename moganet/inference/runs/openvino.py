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
# Images of one request: what 64x64 pixels of 16 have, or one of 224x224, stays in the caches.
PIXELS, MOST = 2**16, 16
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
    """Run a model on the CPU: few images one by one with all threads, many in parallel streams.

    Where the model's size of image is fixed, both forms are compiled for a fixed number of images, with which OpenVINO
    plans its memory ahead and answers 1.1 to 1.3 times as fast as with a free one; what lacks to it is filled up.
    Both are compiled when they are first needed, and compute for one caller at a time: what is written into a
    request is one caller's images, and its threads are all that there are. Nothing is kept on disk of what was
    compiled: it saves a tenth of a second, and OpenVINO does not notice where it is damaged.
    """

    def __init__(self, model: Any, precision: str, outputs: Sequence[str]) -> None:
        self.openvino = need("openvino", "the runtime openvino")
        self.core, self.model, self.guard, self.outputs = _core(), model, Guard(), tuple(outputs)
        # f32 must be asked for: where the processor has bf16, OpenVINO would choose that.
        self.options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
        self.compiled: dict[str, Any] = {}
        self.image = _fixed_image(model)
        self.batch = 0 if self.image is None else at_once(*self.image[1:])  # 0: any
        self.one = OncePerProcess(lambda: self._compile("LATENCY", 1).create_infer_request())
        self.many = OncePerProcess(lambda: self.openvino.AsyncInferQueue(self._compile("THROUGHPUT", self.batch)))
        self.process = os.getpid()

    def __call__(self, images: Array) -> Outputs:
        images = np.ascontiguousarray(images)
        with self.guard, foreign("OpenVINO can't run this model"):
            if self._are_few(len(images)):
                return self._joined([self._alone(images[i : i + 1]) for i in range(len(images))])
            return self._joined(self._in_streams(images))

    def _are_few(self, number: int) -> bool:
        """Tell whether images are computed one by one: with more streams than images, threads would idle."""
        threads = num_threads()
        if self.process != os.getpid():  # a forked process has no threads that streams could be of
            return True
        return number <= max(1, threads // 2) or (threads == 1 and self.batch == 1)

    def _alone(self, image: Array) -> list[Array]:
        request = self.one.get()
        request.infer({0: image})
        return self._of(request)

    def _of(self, request: Any) -> list[Array]:
        return [request.get_output_tensor(number).data.copy() for number in range(len(self.outputs))]

    def _joined(self, parts: list[list[Array]]) -> Outputs:
        return {name: np.concatenate(some) for name, some in zip(self.outputs, zip(*parts, strict=True), strict=True)}

    def _in_streams(self, images: Array) -> list[list[Array]]:
        queue = self.many.get()
        number = self.batch or min(at_once(*_sides(images)), -(-len(images) // len(queue)))
        found: dict[int, list[Array]] = {}
        queue.set_callback(lambda request, start: found.update({start: self._of(request)}))
        for start in range(0, len(images), number):
            part = images[start : start + number]
            queue.start_async({0: _filled(part, self.batch)}, start)
        queue.wait_all()
        return [[values[: len(images) - start] for values in found[start]] for start in sorted(found)]

    def _compile(self, hint: str, batch: int) -> Any:
        if hint not in self.compiled:
            if os.getpid() != self.process:  # it would wait for its parent's threads
                raise ConfigError("OpenVINO can't be made ready in a forked process; load the model there or use spawn")
            options = {"INFERENCE_NUM_THREADS": num_threads(), "PERFORMANCE_HINT": hint}
            model = self.model
            if self.image is not None:
                model = model.clone()
                model.reshape([batch, *self.image])
            self.compiled[hint] = self.core.compile_model(model, "CPU", {**self.options, **options})
        return self.compiled[hint]


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
