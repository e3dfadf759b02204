"""ONNX, by torch's own exporter; run by onnxruntime."""

from pathlib import Path
from typing import Any

import torch

from moganet.errors import ConfigError, foreign
from moganet.files import atomic_path
from moganet.inference.export.graph import INPUT, Graph, quantized
from moganet.inference.metadata import METADATA_KEY, ExportPrecision, hash_of, need
from moganet.inference.runs.onnx import SUFFIX, load, read
from moganet.network.dense.kept import NOTHING

__all__ = ["PRECISIONS", "SUFFIX", "load", "read", "save"]
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "f16", "int8")
SMALL = 1024  # values; what is smaller stays in float32


def save(graph: Graph, path: Path) -> None:
    """Write an ONNX file. In f16 the weights are stored so, and computed with in float32."""
    need("onnxscript", "export to ONNX")
    if graph.precision == "int8" and graph.raw:
        raise ConfigError("int8 with --raw is offered by --to openvino; with --to onnx leave one of them out")
    proto = traced(graph)
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        del node.metadata_props[:]  # they name where on this machine the packages lie
    for axis, name in graph.dynamic_axes().items():
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    if graph.precision == "int8" and graph.takes_sizes:
        raise ConfigError("a detector in int8 is offered by --to openvino")
    if graph.precision == "int8":
        proto = quantized(proto, graph, lambda x: {INPUT: x.numpy()})
    elif graph.precision == "f16":
        _halve(proto)
    # Serialised messages may be written one behind the other: the metadata come last, with the hash of what is before.
    body, last = proto.SerializeToString(), type(proto)()
    entry = last.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, graph.metadata(hash_of([body]))
    with atomic_path(path) as temporary:
        temporary.write_bytes(body + last.SerializeToString())


def traced(graph: Graph) -> Any:
    """Give a graph as torch's exporter makes it, as a message of ONNX."""
    axes = dict.fromkeys(graph.dynamic_axes(), torch.export.Dim.DYNAMIC)
    table: dict[str, Any] = {}
    if graph.takes_sizes:
        table["custom_translation_table"] = {torch.ops.moganet.kept.default: kept_in_onnx()}
    how: dict[str, Any] = {
        "input_names": [*graph.inputs],
        "output_names": [*graph.outputs],
        "dynamic_shapes": (axes, {}) if graph.takes_sizes else (axes,),
        "dynamo": True,
        "verbose": False,
        **table,
    }
    with foreign("torch can't export this network to ONNX"):
        program = _exported(graph, how)
    assert program is not None
    return program.model_proto


def _exported(graph: Graph, how: dict[str, Any]) -> Any:
    """Export; once more where CPython 3.11 lost count of how deep it is in a syntax tree (its issue 106905)."""
    try:
        return torch.onnx.export(graph.module().eval(), graph.examples(), **how)
    except SystemError as error:
        if "recursion depth" not in str(error):
            raise
        return torch.onnx.export(graph.module().eval(), graph.examples(), **how)


def kept_in_onnx() -> Any:
    """Give `moganet.network.dense.kept.kept` in ONNX's operations."""
    ops: Any = need("onnxscript", "export to ONNX").opset18

    def whole(*values: int) -> Any:
        return ops.Constant(value_ints=[*values])

    def kept(boxes: Any, scores: Any, groups: Any, overlap: float, most: int) -> Any:
        top = ops.Add(ops.ReduceMax(boxes, keepdims=0), ops.Constant(value_float=1.0))
        moved = ops.Add(boxes, ops.Unsqueeze(ops.Mul(ops.Cast(groups, to=1), top), whole(1)))
        limits = ops.Constant(value_floats=[overlap]), ops.Constant(value_floats=[NOTHING / 2])
        one = ops.Unsqueeze(moved, whole(0)), ops.Unsqueeze(scores, whole(0, 1))
        found = ops.NonMaxSuppression(*one, whole(most), *limits)
        places = ops.Squeeze(ops.Slice(found, whole(2), whole(3), whole(1)), whole(1))
        filled = ops.Concat(places, ops.Expand(whole(-1), whole(most)), axis=0)
        return ops.Slice(filled, whole(0), whole(most), whole(0))

    return kept


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
