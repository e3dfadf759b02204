"""Networks with a head for OpenVINO, operation by operation: heads on the maps of a fused MogaNet."""

from collections.abc import Callable
from typing import Any

from torch import nn

from moganet.inference.export.openvino_ops import constant, emit
from moganet.network.dense.layers import Conv, ConvNorm
from moganet.network.dense.neck import FeaturePyramid
from moganet.network.dense.pose import KeypointHead, PoseNetwork
from moganet.network.dense.segmenter import Segmenter
from moganet.network.dense.semantic_fpn import SemanticFpn
from moganet.network.dense.upernet import UperNet
from moganet.network.fuse import FusedMogaNet

Emit = Callable[[Any, list[Any], Any], Any]


def is_known(network: nn.Module) -> bool:
    """Tell whether a network is one with a head of which every part is known here."""
    if isinstance(network, PoseNetwork):
        return isinstance(network.backbone, FusedMogaNet)
    if not isinstance(network, Segmenter) or not isinstance(network.backbone, FusedMogaNet):
        return False
    return isinstance(network.decode_head, SemanticFpn | UperNet)


def emit_dense(network: nn.Module, images: Any, ops: Any) -> Any:
    """Add a network with a head to the graph behind its images; give what it gives."""
    if not isinstance(network, PoseNetwork):
        assert isinstance(network, Segmenter)
        return emit_segmenter(network, images, ops)
    x, head = images, network.keypoint_head
    assert isinstance(network.backbone, FusedMogaNet) and isinstance(head, KeypointHead)
    for stage in network.backbone.stages:
        x = emit(stage, x, ops)
    return emit(head.final_layer, emit(head.deconv_layers, x, ops), ops)


def emit_segmenter(network: Segmenter, images: Any, ops: Any) -> Any:
    """Add a segmenter to the graph behind its images; give the logits at their size."""
    assert isinstance(network.backbone, FusedMogaNet)
    maps, x = [], images
    for stage in network.backbone.stages:
        x = emit(stage, x, ops)
        maps.append(x)
    head = network.decode_head
    assert isinstance(head, SemanticFpn | UperNet)
    neck = getattr(network, "neck", None)
    if isinstance(neck, FeaturePyramid):
        maps = _pyramid(neck, maps, ops)
    features = _semantic_fpn(head, maps, ops) if isinstance(head, SemanticFpn) else _upernet(head, maps, ops)
    return _resized(emit(head.conv_seg, features, ops), _size(images, ops), ops)


def _pyramid(neck: FeaturePyramid, maps: list[Any], ops: Any) -> list[Any]:
    laterals = [emit(conv, x, ops) for conv, x in zip(neck.lateral_convs, maps, strict=True)]
    for i in range(len(laterals) - 1, 0, -1):
        finer = _resized(laterals[i], _size(laterals[i - 1], ops), ops, nearest=True)
        laterals[i - 1] = ops.add(laterals[i - 1], finer).output(0)
    return [emit(conv, x, ops) for conv, x in zip(neck.fpn_convs, laterals, strict=True)]


def _semantic_fpn(head: SemanticFpn, maps: list[Any], ops: Any) -> Any:
    levels = [emit(level, x, ops) for level, x in zip(head.scale_heads, maps, strict=True)]
    summed = levels[0]
    for level in levels[1:]:
        summed = ops.add(summed, _resized(level, _size(summed, ops), ops)).output(0)
    return summed


def _upernet(head: UperNet, maps: list[Any], ops: Any) -> Any:
    levels = [emit(conv, x, ops) for conv, x in zip(head.lateral_convs, maps[:-1], strict=True)]
    last = maps[-1]
    means = [_resized(emit(module, last, ops), _size(last, ops), ops) for module in head.psp_modules]
    levels.append(emit(head.bottleneck, ops.concat([last, *means], 1).output(0), ops))
    for i in range(len(levels) - 1, 0, -1):
        levels[i - 1] = ops.add(levels[i - 1], _resized(levels[i], _size(levels[i - 1], ops), ops)).output(0)
    levels[:-1] = [emit(conv, x, ops) for conv, x in zip(head.fpn_convs, levels[:-1], strict=True)]
    same = [levels[0], *(_resized(level, _size(levels[0], ops), ops) for level in levels[1:])]
    return emit(head.fpn_bottleneck, ops.concat(same, 1).output(0), ops)


def _size(x: Any, ops: Any) -> Any:
    """Give a map's height and width, which the graph may know only when it runs."""
    return ops.gather(ops.shape_of(x), ops.constant([2, 3]), ops.constant(0)).output(0)


def _resized(x: Any, size: Any, ops: Any, *, nearest: bool = False) -> Any:
    mode, places = ("nearest", "asymmetric") if nearest else ("linear_onnx", "half_pixel")
    how = {"coordinate_transformation_mode": places, "nearest_mode": "floor"}
    return ops.interpolate(x, size, mode, "sizes", axes=ops.constant([2, 3]), **how).output(0)


emit.register(nn.ReLU, lambda module, x, ops: ops.relu(x).output(0))


@emit.register
def _(module: nn.ConvTranspose2d, x: Any, ops: Any) -> Any:
    assert isinstance(module.padding, tuple)
    pads = list(module.padding)
    y = ops.convolution_backprop_data(x, constant(module.weight, ops), list(module.stride), None, pads, pads)
    return y.output(0) if module.bias is None else ops.add(y, constant(module.bias.view(1, -1, 1, 1), ops)).output(0)


@emit.register
def _(module: Conv, x: Any, ops: Any) -> Any:
    return emit(module.conv, x, ops)


@emit.register
def _(module: ConvNorm, x: Any, ops: Any) -> Any:
    return ops.relu(emit(module.bn, emit(module.conv, x, ops), ops)).output(0)


@emit.register
def _(module: nn.Upsample, x: Any, ops: Any) -> Any:
    return _resized(x, ops.multiply(_size(x, ops), ops.constant([2, 2])).output(0), ops)


@emit.register
def _(module: nn.AdaptiveAvgPool2d, x: Any, ops: Any) -> Any:
    return ops.adaptive_avg_pool(x, [module.output_size, module.output_size]).output(0)
