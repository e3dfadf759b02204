"""What a MogaNet costs, layer by layer, told from its description alone: neither torch nor a network is needed.

`cost.measure` finds the same of a network that is there (tests/network/test_outline.py compares them).
"""

from dataclasses import dataclass, field
from typing import Any

from moganet.config import Architecture
from moganet.network.shapes import STEM_STRIDES, check_shape, divide_channels
from moganet.network.variants import shape_of
from moganet.results import Record


class LayerCost(Record):
    """A leaf module's share: output shape without the batch, parameters, and multiply-adds for one image."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


@dataclass
class Outline:
    """The layers in the order of their execution, and the parameters of all. channels, size: of the map so far.

    stages: the shapes of the four stages' maps.
    """

    channels: int
    size: tuple[int, int]
    layers: list[LayerCost] = field(default_factory=list)
    parameters: int = 0
    stages: list[list[int]] = field(default_factory=list)

    def conv(
        self, name: str, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, kind: str = "Conv2d"
    ) -> None:
        """Add a convolution with a bias, padded so that only its stride makes a map smaller."""
        self.size = -(-self.size[0] // stride), -(-self.size[1] // stride)
        each = self.channels // groups * kernel**2 + 1
        self.add(name, kind, out, out * each, each)

    def depthwise(self, name: str, channels: int, kernel: int) -> None:
        self.channels = channels
        self.conv(name, channels, kernel, groups=channels, kind="DepthwiseConv2d")

    def norm(self, name: str) -> None:
        self.add(name, "BatchNorm2d", self.channels, 2 * self.channels, 2)

    def scale(self, name: str) -> None:
        self.add(name, "ElementScale", self.channels, self.channels)

    def add(self, name: str, kind: str, channels: int | None = None, parameters: int = 0, macs: int = 0) -> None:
        """Add a layer that gives so many channels. macs: multiply-adds for each value that it gives."""
        self.channels = self.channels if channels is None else channels
        output = (self.channels, *self.size)
        macs *= self.channels * self.size[0] * self.size[1]
        self.layers.append(LayerCost(name=name, kind=kind, output=output, parameters=parameters, macs=macs))
        self.parameters += parameters

    def head(self, classes: int) -> None:
        self.layers.append(
            LayerCost(name="global_pool", kind="AveragePool", output=(self.channels,), parameters=0, macs=0)
        )
        if classes:
            number = classes * (self.channels + 1)
            self.layers.append(LayerCost(name="head", kind="Linear", output=(classes,), parameters=number, macs=number))
            self.parameters += number


def outline(architecture: Architecture, size: tuple[int, int]) -> Outline:
    """Outline the network of a description for an image of `size` (height, width).

    Multiply-adds are counted as `cost.layer_costs` does. Raises ValueError for a network that can't be.
    """
    own = {**shape_of(architecture.name), **architecture.options()}
    dims, depths, ratios, stride = (own[key] for key in ("embed_dims", "depths", "mlp_ratios", "stem_stride"))
    check_shape(dims, depths, ratios, stride)
    made = Outline(own.get("in_chans", 3), size)
    drops, blocks = own["drop_path_rate"] > 0, 0
    for stage, (dim, depth, ratio) in enumerate(zip(dims, depths, ratios, strict=True), 1):
        _embed(made, stage, dim, stride)
        for number in range(depth):
            _block(made, f"blocks{stage}.{number}", ratio, own, drops=drops and blocks > 0)
            blocks += 1
        made.norm(f"norm{stage}")
        made.stages.append([dim, *made.size])
    made.head(own.get("num_classes", 1000))
    return made


def _embed(made: Outline, stage: int, dim: int, stem_stride: int) -> None:
    name = f"patch_embed{stage}"
    if stage > 1:
        made.conv(f"{name}.projection", dim, 3, stride=2)
        made.norm(f"{name}.norm")
        return
    first, second = STEM_STRIDES[stem_stride]
    made.conv(f"{name}.projection.0", dim // 2, 3, stride=first)
    made.norm(f"{name}.projection.1")
    made.add(f"{name}.projection.2", "GELU")
    made.conv(f"{name}.projection.3", dim, 3, stride=second)
    made.norm(f"{name}.projection.4")


def _block(made: Outline, name: str, ratio: float, own: dict[str, Any], *, drops: bool) -> None:
    dim = made.channels
    made.parameters += 2 * dim  # the layer scales, which belong to no leaf
    made.norm(f"{name}.norm1")
    _aggregate_orders(made, f"{name}.attn", own)
    if drops:
        made.add(f"{name}.drop_path", "DropPath")
    made.norm(f"{name}.norm2")
    _aggregate_channels(made, f"{name}.mlp", int(dim * ratio), aggregation=own["channel_aggregation"])
    if drops:
        made.add(f"{name}.drop_path", "DropPath")


def _aggregate_orders(made: Outline, name: str, own: dict[str, Any]) -> None:
    dim, acts = made.channels, 2 if own["gate"] == "double" else 1
    parts = divide_channels(dim, own.get("dilations", (1, 2, 3)), own.get("channel_split", (1, 3, 4)))
    made.conv(f"{name}.proj_1", dim)
    made.scale(f"{name}.sigma")
    made.add(f"{name}.act", "SiLU")
    made.conv(f"{name}.gate", dim)
    for number in range(acts):
        made.add(f"{name}.gate_act.{number}", "SiLU")
    for number, (channels, kernel) in enumerate(zip((dim, *parts[1:]), (5, 5, 7), strict=True)):
        made.depthwise(f"{name}.value.DW_conv{number}", channels, kernel)
    made.channels = dim
    made.conv(f"{name}.value.PW_conv", dim)
    for number in range(acts):
        made.add(f"{name}.value_act.{number}", "SiLU")
    made.conv(f"{name}.proj_2", dim, kind="GatedProjection")


def _aggregate_channels(made: Outline, name: str, hidden: int, *, aggregation: str) -> None:
    dim = made.channels
    made.conv(f"{name}.fc1", hidden)
    made.depthwise(f"{name}.dwconv", hidden, 3)
    made.add(f"{name}.act", "GELU")
    made.add(f"{name}.drop1", "Dropout")
    if aggregation == "reference":
        made.conv(f"{name}.decompose", 1)
    else:  # the tensors are there all the same
        made.parameters += hidden + 1
    made.add(f"{name}.decompose_act", "GELU")
    made.channels = hidden
    made.scale(f"{name}.sigma")
    made.conv(f"{name}.fc2", dim)
    made.add(f"{name}.drop2", "Dropout")
