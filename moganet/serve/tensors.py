"""The tensors of the Open Inference Protocol, in JSON and by its extension for binary data, to and from numpy.

https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md and
extension_classification.md.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from moganet.serve.bodies import decoded
from moganet.serve.problems import ProblemError, as_json, parsed, validated

TYPES: dict[str, Any] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
HEADER = "inference-header-content-length"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
CLASSIFICATION = "classification"
MAX_ELEMENTS = 1 << 31
ABOUT = {"content_type", "headers"}  # which clients of MLServer send beside any tensor
TAKES, GIVES = ABOUT | {BINARY_SIZE}, ABOUT | {BINARY, CLASSIFICATION}  # parameters of inputs, and of outputs
Parameters = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]  # as some send it


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(max_length=200)
    parameters: Parameters = Field(default_factory=dict)


class Input(_Part):
    """A tensor that a client sends: its data here, or behind the JSON."""

    shape: tuple[int, ...] = Field(max_length=8)
    datatype: str = Field(max_length=20)
    data: Any = None


class Output(_Part):
    """A tensor that a client wants."""


class InferRequest(BaseModel):
    """A request for inference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = Field(default=None, max_length=1000)
    parameters: Parameters = Field(default_factory=dict)
    inputs: tuple[Input, ...] = Field(min_length=1, max_length=16)
    outputs: Annotated[tuple[Output, ...], BeforeValidator(lambda value: () if value is None else value)] = Field(
        default=(), max_length=16
    )


@dataclass(frozen=True)
class Tensor:
    """A named tensor: an array, or of BYTES a list of elements."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: NDArray[Any] | Sequence[bytes]


@dataclass(frozen=True)
class Asked:
    """A request with its tensors."""

    request: InferRequest
    tensors: Sequence[Tensor] = field(default_factory=tuple)


def read_request(content: bytes, header: str | None) -> Asked:
    """Read a request. header: the length of its JSON, where binary data follow. Raises ProblemError."""
    if header is None:
        length = len(content)
    elif not header.isascii() or not header.isdecimal() or int(header[:20]) > len(content):
        raise ProblemError(
            400, f"{HEADER} is {header[:50]!r}; it must be the JSON's bytes, at most the body's {len(content)}"
        )
    else:
        length = int(header[:20])
    if header is not None and not length:  # the whole body is one image
        one = Input(name="image", shape=(1,), datatype="BYTES")
        return Asked(InferRequest(inputs=(one,)), [Tensor("image", "BYTES", (1,), [content])])
    request = validated(InferRequest, parsed(content[:length], "the request"))
    _check_parameters(request)
    return Asked(request, list(_tensors(request, content[length:])))


def _check_parameters(request: InferRequest) -> None:
    """Raise ProblemError for what a tensor's parameters ask that is not done: it would be passed over in silence."""
    for part in (*request.inputs, *request.outputs):
        known = TAKES if isinstance(part, Input) else GIVES
        if unknown := part.parameters.keys() - known:
            what = f"{part.name[:50]} has the parameter {min(unknown)[:100]!r}; there it can have"
            raise ProblemError(400, f"{what} {', '.join(sorted(known - ABOUT))}; settings belong to the whole request")


def _tensors(request: InferRequest, binary: bytes) -> Iterator[Tensor]:
    start = 0
    for one in request.inputs:
        number = _number(one)
        size = one.parameters.get(BINARY_SIZE)
        if size is None:
            yield _of_json(one, number)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary) - start:
            raise ProblemError(
                400, f"{BINARY_SIZE} of {one.name[:50]} is {str(size)[:30]}; {len(binary) - start} bytes follow"
            )
        yield _of_binary(one, number, binary[start : start + size])
        start += size
    if start != len(binary):
        raise ProblemError(400, f"{len(binary) - start} bytes behind the JSON belong to no input; say {BINARY_SIZE}")


def _number(one: Input) -> int:
    number = math.prod(one.shape) if all(0 <= side < MAX_ELEMENTS for side in one.shape) else -1
    if not 0 < number < MAX_ELEMENTS:
        raise ProblemError(400, f"the shape of {one.name[:50]} is {list(one.shape)}; its sides must be at least 1")
    if one.datatype != "BYTES" and one.datatype not in TYPES:
        raise ProblemError(400, f"the datatype {one.datatype!r} is not taken; send BYTES, {' or '.join(TYPES)}")
    return number


def _of_json(one: Input, number: int) -> Tensor:
    flat = list(_flat(one.data, one.name))
    if len(flat) != number:
        raise ProblemError(400, f"{one.name[:50]} has {len(flat)} elements for the shape {list(one.shape)}")
    if one.datatype == "BYTES":
        if not all(isinstance(text, str) for text in flat):
            raise ProblemError(400, f"elements of BYTES are base64 texts in JSON; {one.name[:50]} has others")
        elements = [decoded(text, f"element {place} of {one.name[:50]}") for place, text in enumerate(flat, 1)]
        return Tensor(one.name, one.datatype, one.shape, elements)
    if not all(isinstance(value, int | float) for value in flat):
        raise ProblemError(400, f"elements of {one.datatype} are numbers; {one.name[:50]} has others")
    if one.datatype == "UINT8" and not all(isinstance(value, int) and 0 <= value < 256 for value in flat):
        raise ProblemError(400, f"elements of UINT8 are whole numbers from 0 to 255; {one.name[:50]} has others")
    with np.errstate(over="ignore"):
        try:
            values = np.array(flat, np.float64 if one.datatype == "FP32" else None).astype(TYPES[one.datatype])
        except OverflowError:  # of whole numbers beyond any float
            raise ProblemError(400, f"{one.name[:50]} has numbers beyond FP32") from None
    return Tensor(one.name, one.datatype, one.shape, values.reshape(one.shape))


def _flat(data: Any, name: str) -> Iterator[Any]:
    """Give the elements of data, flat or nested row by row."""
    if not isinstance(data, list):
        raise ProblemError(400, f"{name[:50]} has no data: give a list, or {BINARY_SIZE} and the bytes behind the JSON")
    waiting = [iter(data)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


def _of_binary(one: Input, number: int, binary: bytes) -> Tensor:
    if one.datatype == "BYTES":
        elements = list(_elements(binary, one.name))
        if len(elements) != number:
            raise ProblemError(400, f"{one.name[:50]} has {len(elements)} elements for the shape {list(one.shape)}")
        return Tensor(one.name, one.datatype, one.shape, elements)
    kind = TYPES[one.datatype]
    if len(binary) != number * kind.itemsize:
        raise ProblemError(400, f"{one.name[:50]} has {len(binary)} bytes; its shape wants {number * kind.itemsize}")
    return Tensor(one.name, one.datatype, one.shape, np.frombuffer(binary, kind).reshape(one.shape))


def _elements(binary: bytes, name: str) -> Iterator[bytes]:
    """Give the elements of BYTES, before each of which its length stands in 4 bytes."""
    start = 0
    while start < len(binary):
        size = int.from_bytes(binary[start : start + 4], "little")
        begin, start = start + 4, start + 4 + size
        if start > len(binary):
            raise ProblemError(400, f"the bytes of {name[:50]} end within an element")
        yield binary[begin:start]


def write_response(head: dict[str, Any], tensors: Sequence[Tensor], binary: Sequence[bool]) -> tuple[bytes, int | None]:
    """Give a response's body, and the length of its JSON where binary data follow. binary: of each tensor."""
    outputs, behind = list[dict[str, Any]](), list[bytes]()
    for one, is_binary in zip(tensors, binary, strict=True):
        entry: dict[str, Any] = {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
        if is_binary:
            behind.append(_as_binary(one))
            entry["parameters"] = {BINARY_SIZE: len(behind[-1])}
        else:
            entry["data"] = _as_list(one)
        outputs.append(entry)
    text = as_json({**head, "outputs": outputs})
    return text + b"".join(behind), len(text) if behind else None


def _as_binary(one: Tensor) -> bytes:
    if isinstance(one.data, np.ndarray):
        return one.data.astype(TYPES[one.datatype]).tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in one.data)


def _as_list(one: Tensor) -> list[Any]:
    if isinstance(one.data, np.ndarray):
        flat: list[Any] = one.data.ravel().tolist()
        return flat
    return [element.decode() for element in one.data]
