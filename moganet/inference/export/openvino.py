"""OpenVINO: the graph is built operation by operation from the fused network, in a fraction of tracing's time.

That is what lets a first prediction use it. Preprocessing, where it is asked for, is traced and set before it.
"""

import html
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from moganet.errors import OutputError, first_line, foreign
from moganet.files import atomic_path
from moganet.inference.export.graph import INPUT, SIZES, Graph, quantized
from moganet.inference.export.onnx import traced
from moganet.inference.export.openvino_dense import emit_dense, is_known
from moganet.inference.export.openvino_ops import emit
from moganet.inference.export.raw import RawPreprocess
from moganet.inference.metadata import METADATA_KEY, ExportPrecision, need
from moganet.inference.runs.openvino import METADATA, SUFFIX, hash_of_files, load, read
from moganet.network.features import with_features
from moganet.network.fuse import FusedMogaNet
from moganet.tasks.detect.seeing import padded

__all__ = ["PRECISIONS", "SUFFIX", "load", "read", "save"]
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "bf16", "f16", "int8")
PLACEHOLDER = "moganet:metadata"  # OpenVINO writes it where the metadata shall stand, with the hash of what it wrote


def save(graph: Graph, path: Path) -> None:
    """Write .xml and .bin. In f16 the weights are stored so; bf16 is computed in where the processor has it."""
    openvino, _ = _openvino()
    model = _from_onnx(graph) if graph.takes_sizes else build(graph)
    if graph.precision == "int8":
        model = quantized(model, graph, _of_detector if graph.takes_sizes else lambda x: x.numpy())
    if graph.raw:
        model = _with_preprocessing(model, graph)
    model.set_rt_info(PLACEHOLDER, [METADATA_KEY])
    # OpenVINO writes both by the first name, and says of a full disk only that something failed.
    with atomic_path(path) as xml, atomic_path(path.with_suffix(".bin")) as weights:
        half = graph.precision == "f16"
        size = sum(int(op.get_byte_size()) for op in model.get_ops() if op.get_type_name() == "Constant")
        _claim_room(weights, size // (2 if half else 1))
        try:
            openvino.save_model(model, xml, compress_to_fp16=half)
        except Exception as error:
            raise OutputError(f"can't write {path}: OpenVINO says {first_line(error)}; choose another place") from None
        text = xml.read_bytes()
        metadata = html.escape(graph.metadata(hash_of_files(text, weights))).encode()
        xml.write_bytes(METADATA.sub(lambda found: found[1] + metadata + found[3], text))


def _claim_room(path: Path, size: int) -> None:
    """Raise the system's OSError where a file of `size` bytes has no room."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)


def _openvino() -> tuple[Any, Any]:
    return need("openvino", "export to OpenVINO"), need("openvino.opset13", "export to OpenVINO")


def _shape(graph: Graph) -> list[int]:
    return [-1, graph.description.preprocessing.channels, *(graph.size or (-1, -1))]


def build(graph: Graph) -> Any:
    """Make OpenVINO's model of the network: float images (B, C, H, W) to its outputs."""
    network = graph.cropped()
    is_ours = isinstance(network, FusedMogaNet) or is_known(network)
    return _built(network, graph) if is_ours else _converted(with_features(network), graph)


def _from_onnx(graph: Graph) -> Any:
    """Give a detector's model by way of ONNX, whose operations for boxes OpenVINO knows."""
    with tempfile.TemporaryDirectory() as folder, foreign("OpenVINO can't take this network"):
        file = Path(folder) / "detector.onnx"
        file.write_bytes(traced(graph).SerializeToString())
        return _openvino()[0].Core().read_model(file)


def _of_detector(x: torch.Tensor) -> dict[str, Any]:
    """Give an image for calibration, with zeros up to sizes that the network takes."""
    return {INPUT: padded(x.numpy()), SIZES: np.array([x.shape[2:]])}


def _built(network: nn.Module, graph: Graph) -> Any:
    openvino, ops = _openvino()
    images = ops.parameter(_shape(graph), openvino.Type.f32, name=INPUT)
    images.output(0).set_names({INPUT})
    with torch.no_grad():
        given = _given(network, images.output(0), ops)
    results = []
    for output, name in zip(given, graph.network_outputs, strict=False):  # without a head they are the same
        output.set_names({name})
        results.append(ops.result(output))
    return openvino.Model(results, [images], "moganet")


def _given(network: nn.Module, images: Any, ops: Any) -> list[Any]:
    if is_known(network):
        return [emit_dense(network, images, ops)]
    assert isinstance(network, FusedMogaNet)
    features = emit(network, images, ops)
    return [emit(network.head, features, ops), features]


def _converted(network: nn.Module, graph: Graph) -> Any:
    """Convert a network of others, as traced: ten seconds instead of half a one."""
    x = torch.zeros(graph.example_shape())
    with torch.no_grad(), warnings.catch_warnings(), foreign("OpenVINO can't take this network"):
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.eval(), x, check_trace=False)  # type: ignore[no-untyped-call]
        model = _openvino()[0].convert_model(traced, example_input=x, input=_shape(graph))
    model.inputs[0].set_names({INPUT})
    for output, name in zip(model.outputs, graph.network_outputs, strict=True):
        output.set_names({name})
    return model


def _with_preprocessing(model: Any, graph: Graph) -> Any:
    """Set the traced preprocessing before a network's model, and the activation behind it."""
    openvino, ops = _openvino()
    preprocess = RawPreprocess(graph.description.preprocessing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tracing, which OpenVINO's converter still asks for
        traced = torch.jit.trace(preprocess, graph.example(), check_trace=False)  # type: ignore[no-untyped-call]
        shape = [-1, -1, -1, graph.description.preprocessing.channels]
        with foreign("OpenVINO can't convert this preprocessing"):
            before = openvino.convert_model(traced, input=[(shape, openvino.Type.u8)])
    before.inputs[0].set_names({INPUT})
    for reader in model.inputs[0].get_target_inputs():
        reader.replace_source_output(before.results[0].input_value(0))
    given = [result.input_value(0) for result in model.results]
    logits = given[0]
    if graph.temperature:
        logits = ops.divide(logits, ops.constant([graph.temperature], dtype=openvino.Type.f32)).output(0)
    probabilities = (ops.softmax(logits, 1) if graph.activation == "softmax" else ops.sigmoid(logits)).output(0)
    probabilities.set_names({"probabilities"})
    results = [ops.result(output) for output in (probabilities, *given)]
    return openvino.Model(results, before.get_parameters(), "moganet")
