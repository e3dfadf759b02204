"""ONNX, by torch's own exporter; run by onnxruntime."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moganet.errors import ConfigError, WeightsError
from moganet.files import atomic_path
from moganet.inference.export.graph import METADATA_KEY, ExportPrecision, Graph, Run, calibrated, need

SUFFIX = ".onnx"
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "f16", "int8")
SMALL = 1024  # values; what is smaller stays in float32


def save(graph: Graph, path: Path) -> None:
    """Write an ONNX file. In f16 the weights are stored so, and computed with in float32."""
    need("onnxscript", "export to ONNX")
    if graph.precision == "int8" and graph.raw:
        raise ConfigError("int8 with --raw is offered by --to openvino; with --to onnx leave one of them out")
    axes = dict.fromkeys(graph.dynamic_axes(), torch.export.Dim.DYNAMIC)
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
    for axis, name in graph.dynamic_axes().items():
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    if graph.precision == "int8":
        proto = calibrated(proto, graph, lambda x: {graph.input_name: x.numpy()})
    elif graph.precision == "f16":
        _halve(proto)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, graph.metadata()
    with atomic_path(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


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


def read(path: Path) -> str:
    """Give the metadata's text."""
    onnx = need("onnx", f"reading {path.name}")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors share no class
        raise WeightsError(f"{path} is no whole ONNX file: {_first_line(error)}") from None
    return next((entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY), "")


def load(path: Path, precision: str) -> Run:
    """Run the file with onnxruntime on the CPU."""
    runtime: Any = need("onnxruntime", f"running {path.name}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its threads would go on spinning between two calls, and take the processor from what runs then.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each of its status codes
        raise WeightsError(f"onnxruntime can't load {path}: {_first_line(error)}") from None
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])

    return run


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
