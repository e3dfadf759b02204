"""ONNX, by torch's own exporter; run by onnxruntime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from moganet.errors import ConfigError
from moganet.files import atomic_path, path_in_utf8
from moganet.inference.export.graph import (
    METADATA_KEY,
    ExportPrecision,
    Graph,
    Run,
    Written,
    blocks,
    foreign,
    hash_of,
    need,
    quantized,
)
from moganet.inference.threads import OncePerProcess

SUFFIX = ".onnx"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "f16", "int8")
SMALL = 1024  # values; what is smaller stays in float32
# Of onnx.proto: ModelProto.metadata_props, and the wire type of what has a length before it.
METADATA_PROPS, DELIMITED = 14, 2
FIXED = {1: 8, 5: 4}  # the lengths of the other wire types; 0 is a number of any length
MAX_METADATA = 64 << 20  # bytes


def save(graph: Graph, path: Path) -> None:
    """Write an ONNX file. In f16 the weights are stored so, and computed with in float32."""
    need("onnxscript", "export to ONNX")
    if graph.precision == "int8" and graph.raw:
        raise ConfigError("int8 with --raw is offered by --to openvino; with --to onnx leave one of them out")
    axes = dict.fromkeys(graph.dynamic_axes(), torch.export.Dim.DYNAMIC)
    with foreign("torch can't export this network to ONNX"):
        program = torch.onnx.export(
            graph.module().eval(),
            (graph.example(),),
            input_names=[graph.input_name],
            output_names=[graph.output_name],
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        del node.metadata_props[:]  # they name where on this machine the packages lie
    for axis, name in graph.dynamic_axes().items():
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    if graph.precision == "int8":
        proto = quantized(proto, graph, lambda x: {graph.input_name: x.numpy()})
    elif graph.precision == "f16":
        _halve(proto)
    # Serialised messages may be written one behind the other: the metadata come last, with the hash of what is before.
    body, last = proto.SerializeToString(), type(proto)()
    entry = last.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, graph.metadata(hash_of([body]))
    with atomic_path(path) as temporary:
        temporary.write_bytes(body + last.SerializeToString())


def _halve(proto: Any) -> None:
    """Store the large weights in float16, each with a Cast to float32 behind it, which runtimes fold when they load."""
    onnx = need("onnx", "export to ONNX")
    casts = []
    for tensor in list(proto.graph.initializer):
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type == onnx.TensorProto.FLOAT and values.size >= SMALL:
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), f"{name}.f16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.f16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


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


def load(path: Path, precision: str) -> Run:
    """Run the file with onnxruntime on the CPU."""
    need("onnxruntime", f"running {path.name}")
    sessions = OncePerProcess(lambda: _session(path))
    name = sessions.get().get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(sessions.get().run(None, {name: x.contiguous().numpy()})[0])

    return run


def _session(path: Path) -> Any:
    runtime: Any = need("onnxruntime", f"running {path.name}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its threads would go on spinning between two calls, and take the processor from what runs then.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with foreign(f"onnxruntime can't load {path}"), path_in_utf8(path) as named:
        return runtime.InferenceSession(str(named), options, providers=["CPUExecutionProvider"])
