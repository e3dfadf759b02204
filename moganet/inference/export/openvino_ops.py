"""OpenVINO's operations for the modules of a fused MogaNet; what else is exported registers its own here."""

from functools import singledispatch
from typing import Any

from torch import Tensor, nn

from moganet.errors import ConfigError
from moganet.network.blocks import MultiOrderDWConv
from moganet.network.fuse import FusedChannelMixer, FusedMogaNet, FusedSpatialMixer
from moganet.network.pooling import AveragePool


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
    y = convolve(x, constant(weight, ops), list(module.stride), pads, pads, list(module.dilation))
    return y.output(0) if module.bias is None else ops.add(y, constant(module.bias.view(1, -1, 1, 1), ops)).output(0)


@emit.register
def _(module: nn.Linear, x: Any, ops: Any) -> Any:
    y = ops.matmul(x, constant(module.weight, ops), False, True)
    return ops.add(y, constant(module.bias, ops)).output(0)


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
    return ops.add(mixed, ops.multiply(x, constant(module.factor, ops))).output(0)


@emit.register
def _(module: FusedChannelMixer, x: Any, ops: Any) -> Any:
    y = emit(module.act, emit(module.dwconv, emit(module.fc1, x, ops), ops), ops)
    if module.uses_decompose:
        common = emit(module.decompose_act, emit(module.decompose, y, ops), ops)
        out = ops.add(emit(module.fc2, y, ops), ops.multiply(common, constant(module.common, ops)))
    else:
        bent = emit(module.decompose_act, y, ops)
        line = ops.multiply(ops.subtract(y, bent), constant(module.line, ops))
        out = emit(module.fc2, ops.add(bent, line).output(0), ops)
    shortcut = x if module.factor is None else ops.multiply(x, constant(module.factor, ops))
    return ops.add(out, shortcut).output(0)


def constant(values: Tensor, ops: Any) -> Any:
    """Give a tensor as a constant of the graph."""
    return ops.constant(values.detach().float().contiguous().numpy())
