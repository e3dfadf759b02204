"""OpenVINO: the graph is built operation by operation from the fused network, in a fraction of tracing's time.

That is what lets a first prediction use it. Preprocessing, where it is asked for, is traced and set before it.
"""

import html
import logging
import os
import warnings
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moganet.errors import ConfigError, OutputError, first_line, foreign
from moganet.files import atomic_path
from moganet.inference.export.graph import INPUT, Graph, quantized
from moganet.inference.export.raw import RawPreprocess
from moganet.inference.metadata import METADATA_KEY, ExportPrecision, need
from moganet.inference.runs.openvino import METADATA, SUFFIX, hash_of_files, load, read
from moganet.network.blocks import MultiOrderDWConv
from moganet.network.features import with_features
from moganet.network.fuse import FusedChannelMixer, FusedMogaNet, FusedSpatialMixer
from moganet.network.pooling import AveragePool

__all__ = ["PRECISIONS", "SUFFIX", "load", "read", "save"]
PRECISIONS: tuple[ExportPrecision, ...] = ("f32", "bf16", "f16", "int8")
PLACEHOLDER = "moganet:metadata"  # OpenVINO writes it where the metadata shall stand, with the hash of what it wrote


def save(graph: Graph, path: Path) -> None:
    """Write .xml and .bin. In f16 the weights are stored so; bf16 is computed in where the processor has it."""
    openvino, _ = _openvino()
    model = build(graph)
    if graph.precision == "int8":
        logging.getLogger("nncf").setLevel(logging.ERROR)
        model = quantized(model, graph, lambda x: x.numpy())
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
    return _built(network, graph) if isinstance(network, FusedMogaNet) else _converted(with_features(network), graph)


def _built(network: FusedMogaNet, graph: Graph) -> Any:
    openvino, ops = _openvino()
    images = ops.parameter(_shape(graph), openvino.Type.f32, name=INPUT)
    images.output(0).set_names({INPUT})
    with torch.no_grad():
        features = emit(network, images.output(0), ops)
        given = [emit(network.head, features, ops), features]
    results = []
    for output, name in zip(given, graph.network_outputs, strict=False):  # without a head they are the same
        output.set_names({name})
        results.append(ops.result(output))
    return openvino.Model(results, [images], "moganet")


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


@singledispatch
def emit(module: nn.Module, x: Any, ops: Any) -> Any:
    """Add a module to the graph behind `x`; give its output."""
    raise ConfigError(f"export to OpenVINO does not know {type(module).__name__}; use --to onnx or program")


@emit.register
def _(module: nn.Sequential, x: Any, ops: Any) -> Any:
    for child in module:
        x = emit(child, x, ops)
    return x


emit.register(nn.Identity, lambda module, x, ops: x)
emit.register(nn.SiLU, lambda module, x, ops: ops.swish(x).output(0))
emit.register(nn.GELU, lambda module, x, ops: ops.gelu(x, "erf").output(0))


@emit.register
def _(module: nn.Conv2d, x: Any, ops: Any) -> Any:
    assert isinstance(module.padding, tuple)
    pads = list(module.padding)
    weight = module.weight
    if module.groups > 1:
        weight = weight.view(module.groups, -1, *weight.shape[1:])  # (groups, out / groups, in / groups, kh, kw)
    convolve = ops.group_convolution if module.groups > 1 else ops.convolution
    y = convolve(x, _constant(weight, ops), list(module.stride), pads, pads, list(module.dilation))
    return y.output(0) if module.bias is None else ops.add(y, _constant(module.bias.view(1, -1, 1, 1), ops)).output(0)


@emit.register
def _(module: nn.Linear, x: Any, ops: Any) -> Any:
    y = ops.matmul(x, _constant(module.weight, ops), False, True)
    return ops.add(y, _constant(module.bias, ops)).output(0)


emit.register(AveragePool, lambda module, x, ops: ops.reduce_mean(x, [2, 3], False).output(0))


@emit.register
def _(module: FusedMogaNet, x: Any, ops: Any) -> Any:  # to its pooled features
    for stage in module.stages:
        x = emit(stage, x, ops)
    return emit(module.global_pool, x, ops)


@emit.register
def _(module: MultiOrderDWConv, x: Any, ops: Any) -> Any:
    low, middle, high = ops.variadic_split(emit(module.DW_conv0, x, ops), 1, module.channels).outputs()
    orders = [low, emit(module.DW_conv1, middle, ops), emit(module.DW_conv2, high, ops)]
    return emit(module.PW_conv, ops.concat(orders, 1).output(0), ops)


@emit.register
def _(module: FusedSpatialMixer, x: Any, ops: Any) -> Any:
    mean = ops.reduce_mean(x, [2, 3], True).output(0)
    y = ops.add(emit(module.proj_1, x, ops), emit(module.decomposition, mean, ops)).output(0)
    y = emit(module.act, y, ops)
    gate = emit(module.gate_act, emit(module.gate, y, ops), ops)
    value = emit(module.value_act, emit(module.value, y, ops), ops)
    mixed = emit(module.proj_2, ops.multiply(gate, value).output(0), ops)
    return ops.add(mixed, ops.multiply(x, _constant(module.factor, ops))).output(0)


@emit.register
def _(module: FusedChannelMixer, x: Any, ops: Any) -> Any:
    y = emit(module.act, emit(module.dwconv, emit(module.fc1, x, ops), ops), ops)
    if module.uses_decompose:
        common = emit(module.decompose_act, emit(module.decompose, y, ops), ops)
        out = ops.add(emit(module.fc2, y, ops), ops.multiply(common, _constant(module.common, ops)))
    else:
        bent = emit(module.decompose_act, y, ops)
        line = ops.multiply(ops.subtract(y, bent), _constant(module.line, ops))
        out = emit(module.fc2, ops.add(bent, line).output(0), ops)
    shortcut = x if module.factor is None else ops.multiply(x, _constant(module.factor, ops))
    return ops.add(out, shortcut).output(0)


def _constant(values: Tensor, ops: Any) -> Any:
    return ops.constant(values.detach().float().contiguous().numpy())


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
