"""ONNX files by onnxruntime, and what they say of themselves; without torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from moganet.errors import foreign
from moganet.files import path_in_utf8
from moganet.inference.metadata import METADATA_KEY, Written, blocks, hash_of, need
from moganet.inference.runs import Array, Outputs, Run, Sizes, one_by_one
from moganet.inference.threads import OncePerProcess
from moganet.processors import num_threads

SUFFIX = ".onnx"
# Of onnx.proto: ModelProto.metadata_props, and the wire type of what has a length before it.
METADATA_PROPS, DELIMITED = 14, 2
FIXED = {1: 8, 5: 4}  # the lengths of the other wire types; 0 is a number of any length
MAX_METADATA = 64 << 20  # bytes


def read(path: Path) -> Written:
    """Give what was written, by the fields of the file alone: neither onnx nor much memory is needed for it."""
    size = path.stat().st_size
    with foreign(f"{path} is no whole ONNX file"), open(path, "rb") as file:
        for number, wire, start, length in _fields(file, size):
            end = file.tell() + length
            if (number, wire) == (METADATA_PROPS, DELIMITED) and length <= MAX_METADATA:
                key, text = _entry(file, end)
                if key == METADATA_KEY:
                    file.seek(0)
                    before = hash_of(blocks(file, start))
                    return Written(text, before if end == size else f"{before}, and {size - end} bytes behind it")
            file.seek(end)
    return Written("", "")


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Give the fields of a message up to `end`: number, wire type, where it starts, and the length of its content.

    The file stands at the content then, and must be set behind it. Raises ValueError for what is no message.
    """
    while (start := file.tell()) < end:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            here = file.tell()
            _varint(file)
            length = file.tell() - here
            file.seek(here)
        elif wire == DELIMITED:
            length = _varint(file)
        elif wire in FIXED:
            length = FIXED[wire]
        else:
            raise ValueError(f"at byte {start:,} there is no field of a message")
        if number == 0 or file.tell() + length > end:
            raise ValueError(f"it ends within the field at byte {start:,}")
        yield number, wire, start, length


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number does not end")


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    """Read a StringStringEntryProto: its key and value."""
    found = {1: "", 2: ""}
    for number, wire, _, length in _fields(file, end):
        content = file.read(length)
        if wire == DELIMITED and number in found:
            found[number] = content.decode()
    return found[1], found[2]


def load(path: Path, precision: str, outputs: Sequence[str]) -> Run:
    """Run the file with onnxruntime on the CPU."""
    need("onnxruntime", f"running {path.name}")
    by_threads: dict[int, OncePerProcess[Any]] = {}

    def session() -> Any:
        return by_threads.setdefault(num_threads(), OncePerProcess(lambda: _session(path))).get()

    names = [given.name for given in session().get_inputs()]
    asked = [output.name for output in session().get_outputs()][: len(outputs)]  # the first, if not all

    def run(images: Array, sizes: Sizes | None = None) -> Outputs:
        found = session().run(asked, {names[0]: np.ascontiguousarray(images)})
        return dict(zip(outputs, found, strict=True))

    def run_each(images: Array, sizes: Sizes | None = None) -> Outputs:
        parts = [session().run(asked, dict(zip(names, one, strict=True))) for one in one_by_one(images, sizes)]
        return dict(zip(outputs, map(np.concatenate, zip(*parts, strict=True)), strict=True))

    return run if len(names) == 1 else run_each


def _session(path: Path) -> Any:
    runtime: Any = need("onnxruntime", f"running {path.name}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    options.log_severity_level = 3
    # Its threads would go on spinning between two calls, and take the processor from what runs then.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with foreign(f"onnxruntime can't load {path}"), path_in_utf8(path) as named:
        return runtime.InferenceSession(str(named), options, providers=["CPUExecutionProvider"])
