"""The MogaNet block: multi-order gated aggregation, then channel aggregation (paper, section 4).

Submodules carry the names of the reference implementation, so that a released state dict loads as it is.
Every activation is a module of its own, since attribution methods hook them one by one.
"""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from moganet.compat import has_hooks
from moganet.config import ChannelAggregation, Gate
from moganet.network import lean
from moganet.network.depthwise import DepthwiseConv2d
from moganet.network.shapes import divide_channels


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise ValueError unless `value` is one of a Literal's values."""
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): a branch is left out for some images, and scaled up for the others."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        if self.drop_prob == 0.0 or not self.training:
            return x
        kept = 1 - self.drop_prob
        factors = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(kept)
        return x * (factors.div_(kept) if kept > 0.0 else factors)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}"


class ElementScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, channels: int, init: float = 1e-5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), init))

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        return x * self.scale


class GatedProjection(nn.Conv2d):
    """The gate's product and the 1x1 convolution over it.

    In float16 both are computed in float32, as in the reference: the product of two activations leaves float16's
    range (65,504) where each is above 256. The result is clamped to half of that range, which leaves room for the
    shortcut that is added to it.
    """

    def forward(self, gate: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        """Gate and value, (B, C, H, W) each, to (B, C, H, W)."""
        if gate.dtype != torch.float16:
            return F.conv2d(gate * value, self.weight, self.bias)
        product = gate.float() * value.float()
        if is_scripting():  # TorchScript has no autocast for a device that is known at run time only
            return F.conv2d(product.clamp(-32752.0, 32752.0).half(), self.weight, self.bias)
        with torch.autocast(gate.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            out = F.conv2d(product, self.weight.float(), bias)
        return out.clamp(-32752.0, 32752.0).half()


class MultiOrderDWConv(nn.Module):
    """Depth-wise convolutions of three dilations over three groups of channels (paper, section 4.2, figure 4b)."""

    def __init__(
        self, dim: int, dilations: Sequence[int], channel_split: Sequence[int], crop_kernels: bool = True
    ) -> None:
        super().__init__()
        self.channels = divide_channels(dim, dilations, channel_split)
        _, middle, high = self.channels
        self.DW_conv0 = DepthwiseConv2d(dim, 5, dilations[0], crop_kernels)
        self.DW_conv1 = DepthwiseConv2d(middle, 5, dilations[1], crop_kernels)
        self.DW_conv2 = DepthwiseConv2d(high, 7, dilations[2], crop_kernels)
        self.PW_conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        low, middle, high = self.DW_conv0(x).split(self.channels, dim=1)  # C/8, 3C/8, C/2 channels
        orders: Tensor = self.PW_conv(torch.cat([low, self.DW_conv1(middle), self.DW_conv2(high)], dim=1))
        return orders


class MultiOrderGatedAggregation(nn.Module):
    """The spatial mixer: feature decomposition, then a gate over the orders (paper, equations 3 to 6).

    `gate="double"` sends gate and value through SiLU twice: the function that the reference computes under
    `attn_force_fp32`, and that most OpenMixup checkpoints were trained with. The inner shortcut is missing in the
    paper's first figure; its authors confirmed it.
    """

    def __init__(
        self, dim: int, gate: Gate, dilations: Sequence[int], channel_split: Sequence[int], crop_kernels: bool = True
    ) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.sigma = ElementScale(dim)
        self.act = nn.SiLU()
        self.gate = nn.Conv2d(dim, dim, 1)
        self.value = MultiOrderDWConv(dim, dilations, channel_split, crop_kernels)
        self.gate_act = nn.Sequential(*(nn.SiLU() for _ in range(2 if gate == "double" else 1)))
        self.value_act = nn.Sequential(*(nn.SiLU() for _ in range(2 if gate == "double" else 1)))
        self.proj_2 = GatedProjection(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        y = self.proj_1(x)
        y = self.act(y + self.sigma(y - y.mean((2, 3), keepdim=True)))
        out: Tensor = self.proj_2(self.gate_act(self.gate(y)), self.value_act(self.value(y))) + x
        return out

    @torch.jit.unused
    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """Give the product with a layer scale (1, C, 1, 1), for training; the scale is in proj_2's weight."""
        y = lean.decomposed(self.proj_1(x), self.sigma.scale)
        proj, factor = self.proj_2, scale.flatten()
        assert proj.bias is not None
        weight, bias = proj.weight * factor[:, None, None, None], proj.bias * factor
        mixed = lean.gated(self.gate(y), self.value(y), weight, bias, len(self.gate_act))
        return torch.addcmul(mixed, x, scale)


class ChannelAggregation2d(nn.Module):
    """The channel mixer: an inverted bottleneck whose hidden channels are re-weighted (paper, equations 7 and 8).

    `aggregation="paddle"` computes y + sigma * (y - GELU(y)), as the PaddlePaddle port does. `decompose` then exists,
    since the port's checkpoints hold it, but takes no part and asks for no gradient.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        aggregation: ChannelAggregation,
        drop_rate: float = 0.0,
        crop_kernels: bool = True,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, 1)
        self.dwconv = DepthwiseConv2d(hidden_dim, 3, dilation, crop_kernels)
        self.act = nn.GELU()
        self.decompose = nn.Conv2d(hidden_dim, 1, 1)
        self.decompose_act = nn.GELU()
        self.sigma = ElementScale(hidden_dim)
        self.fc2 = nn.Conv2d(hidden_dim, dim, 1)
        self.drop1 = nn.Dropout(drop_rate)
        self.drop2 = nn.Dropout(drop_rate)
        self.uses_decompose = aggregation == "reference"
        self.decompose.requires_grad_(self.uses_decompose)
        self.is_lean = False  # see MogaNet.set_lean

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W), hidden width h = C * ratio
        y = self.drop1(self.act(self.dwconv(self.fc1(x))))  # (B, h, H, W)
        if self.training and self.uses_decompose and not is_scripting():
            return self._train(y)
        common = self.decompose(y) if self.uses_decompose else y  # (B, 1, H, W) or, in the port, (B, h, H, W)
        y = y + self.sigma(y - self.decompose_act(common))
        out: Tensor = self.drop2(self.fc2(y))
        return out

    @torch.jit.unused
    def _train(self, y: Tensor) -> Tensor:
        """Compute the same in one pass of y each way, whose gradients autograd finds."""
        (kernels, biases), factor = self._kernels(), F.conv2d(self.sigma.scale, self.fc2.weight)
        channels = self.fc2.out_channels
        both = F.conv2d(y, kernels, biases)
        own, common = both[:, :channels], self.decompose_act(both[:, channels : channels + 1])
        out: Tensor = self.drop2(torch.addcmul(own, factor, common, value=-1))
        return out

    @torch.jit.unused
    def _kernels(self) -> tuple[Tensor, Tensor]:
        """Give kernels and biases of fc2 and decompose as one convolution; sigma is in fc2's weight.

        fc2(y + sigma * (y - g)) = fc2((1 + sigma) * y) - fc2(sigma) * g without fc2's bias in the last term.
        """
        sigma, fc2, decompose = self.sigma.scale, self.fc2, self.decompose
        assert fc2.bias is not None and decompose.bias is not None
        rest = -(fc2.out_channels + 1) % 8  # half precision on a GPU wants a multiple of 8
        kernels = F.pad(torch.cat([fc2.weight * (1 + sigma), decompose.weight]), (0, 0, 0, 0, 0, 0, 0, rest))
        return kernels, F.pad(torch.cat([fc2.bias, decompose.bias]), (0, rest))

    @torch.jit.unused
    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """Give the product with a layer scale (1, C, 1, 1), for training; the scale is in fc2's weight."""
        (kernels, biases), channels = self._kernels(), self.fc2.out_channels
        rows = F.pad(scale.flatten(), (0, len(biases) - channels), value=1.0)
        h, factor = self.fc1(x), F.conv2d(self.sigma.scale, self.fc2.weight) * scale
        assert self.dwconv.bias is not None
        depthwise = self.dwconv.kernel_for(h), self.dwconv.bias
        scaled = kernels * rows[:, None, None, None], biases * rows
        return lean.mixed(h, depthwise, scaled, factor, step=self.dwconv.step, keep=not self.is_lean)


class MogaBlock(nn.Module):
    """Spatial mixer and channel mixer, each with norm, layer scale and stochastic depth (paper, figure 3).

    growth: what all dilations are multiplied with, on a map that is so much finer than its weights were made for.
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        *,
        gate: Gate = "single",
        channel_aggregation: ChannelAggregation = "reference",
        dilations: Sequence[int] = (1, 2, 3),
        channel_split: Sequence[int] = (1, 3, 4),
        drop_rate: float = 0.0,
        drop_path: float = 0.0,
        ls_init_value: float = 1e-5,
        crop_kernels: bool = True,
        growth: int = 1,
    ) -> None:
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((1, dim, 1, 1), ls_init_value))
        self.layer_scale_2 = nn.Parameter(torch.full((1, dim, 1, 1), ls_init_value))
        self.norm1 = nn.BatchNorm2d(dim)
        grown = [dilation * growth for dilation in dilations]
        self.attn = MultiOrderGatedAggregation(dim, gate, grown, channel_split, crop_kernels)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.BatchNorm2d(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = ChannelAggregation2d(dim, hidden, channel_aggregation, drop_rate, crop_kernels, growth)
        self.by_parts = crop_kernels and channel_aggregation == "reference" and not drop_rate

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        if self.training and not is_scripting():  # noqa: SIM102 (TorchScript reads what stands beside it)
            if self._goes_by_parts(x):
                return self._train(x)
        x = x + self.drop_path(self.layer_scale_1 * self.attn(self.norm1(x)))
        x = x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))
        return x

    @torch.jit.unused
    def _goes_by_parts(self, x: Tensor) -> bool:
        """Tell whether autograd records this call, and nobody hooks a part, which would not be called."""
        if not (self.by_parts and lean.is_worth_it(x)):
            return False
        return not any(has_hooks(part) for part in self.modules() if part is not self)

    @torch.jit.unused
    def _train(self, x: Tensor) -> Tensor:
        """Compute the same with less kept for the backward pass (see lean.py); the sums stay in the weights' type."""
        x = x.to(self.layer_scale_1.dtype) + self.drop_path(self.attn.scaled(self.norm1(x), self.layer_scale_1))
        out: Tensor = x + self.drop_path(self.mlp.scaled(self.norm2(x), self.layer_scale_2))
        return out


def record_orders(block: MogaBlock, name: str, maps: dict[str, Tensor]) -> list[RemovableHandle]:
    """Hook a block so that its forward pass writes its inner maps into `maps` (see MogaNet.forward_orders)."""

    def output(key: str, channels: int | None = None) -> Any:
        return lambda module, inputs, result: maps.update({f"{name}.{key}": result[:, :channels]})

    def first_input(key: str) -> Any:
        return lambda module, inputs: maps.update({f"{name}.{key}": inputs[0]})

    value = block.attn.value
    return [
        block.attn.gate_act.register_forward_hook(output("gate")),
        value.DW_conv0.register_forward_hook(output("order_1", value.channels[0])),
        value.DW_conv1.register_forward_hook(output("order_2")),
        value.DW_conv2.register_forward_hook(output("order_3")),
        block.attn.sigma.register_forward_pre_hook(first_input("feature_decomposition")),
        block.mlp.sigma.register_forward_pre_hook(first_input("channel_decomposition")),
    ]
