"""The exact rewrite of a trained network for inference: the same function in fewer passes over memory.

What is folded, in float64 and without a division, so that no value of a parameter is an exception:
- every batch norm: a block's norms into the 1x1 convolutions that read them, a stage's norm into the stage's last
  block, the norms of the stem and of the downsampling into the convolutions before them;
- layer scales into the convolutions before them; the spatial mixer's inner shortcut and the stage's norm become one
  factor a channel of the outer shortcut;
- feature decomposition (paper, equation 4): 1 + sigma into proj_1. The mean of a 1x1 convolution is the convolution
  of the mean, so that sigma * GAP(proj_1(x)) is a product of a matrix with GAP(x), C values an image;
- channel aggregation (equation 8): fc2(y + sigma * (y - GELU(d·y))) = fc2'(y) + v * GELU(d·y), whose second term has
  C channels instead of the hidden width h = 4C or 8C.
"""

import copy
from collections.abc import Iterable
from functools import singledispatch
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from moganet.network.blocks import ChannelAggregation2d, MogaBlock, MultiOrderGatedAggregation
from moganet.network.depthwise import WIDEST_PADDING, DepthwiseConv2d
from moganet.network.moganet import Downsample, MogaNet, Stem
from moganet.network.shapes import NUM_STAGES


def fuse(network: MogaNet) -> "FusedMogaNet":
    """Give the network's function in evaluation mode, fused; the network itself stays as it is.

    The result holds copies of the weights, in their type and on their device; it can't be trained. Its stage maps
    and logits are the network's, but for rounding.
    """
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        return FusedMogaNet(network).eval().requires_grad_(False)


@singledispatch
def fastest(network: nn.Module) -> nn.Module:
    """Give a network in the form in which it answers fastest: fused where that is known, else as it is."""
    return network


fastest.register(MogaNet, fuse)


@singledispatch
def layout(network: nn.Module) -> torch.memory_format:
    """Give the layout of weights and images in which a network is run: on a CPU channels last is the fastest."""
    return torch.channels_last


def for_size(
    network: nn.Module, in_chans: int, size: tuple[int, int] | None, *, pad_by_hand: bool = False
) -> nn.Module:
    """Give a network for images of one size, its kernels cropped where it is a fused one (see `crop_to_size`)."""
    if size is not None and isinstance(backbone := getattr(network, "backbone", None), FusedMogaNet):
        network = copy.copy(network)  # its own modules stay shared
        network._modules = {**network._modules, "backbone": for_size(backbone, in_chans, size, pad_by_hand=pad_by_hand)}
    if size is None or not isinstance(network, FusedMogaNet):
        return network
    return crop_to_size(network, in_chans, size, pad_by_hand=pad_by_hand)


class FusedMogaNet(nn.Module):
    """MogaNet for inference (see `fuse`): images (B, in_chans, H, W) to logits (B, num_classes)."""

    def __init__(self, network: MogaNet) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_fuse_stage(network, stage) for stage in range(1, NUM_STAGES + 1))
        self.global_pool, self.head = network.global_pool, copy.deepcopy(network.head)

    def forward_features(self, x: Tensor) -> Tensor:
        """Give the last stage's map, (B, C4, H/32, W/32) at stem stride 4."""
        for stage in self.stages:
            x = stage(x)
        return x

    def forward_intermediates(self, x: Tensor) -> list[Tensor]:
        """Give the four stages' maps, each after its norm."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        logits: Tensor = self.head(self.global_pool(self.forward_features(x)))
        return logits


class FusedSpatialMixer(nn.Module):
    """norm1, the spatial mixer, layer_scale_1 and both shortcuts: x -> factor * x + proj_2(gate(y) * value(y))."""

    def __init__(self, block: MogaBlock) -> None:
        super().__init__()
        mixer: MultiOrderGatedAggregation = block.attn
        factor, shift = norm_affine(block.norm1)
        weight, bias = _fold_input(mixer.proj_1, factor, shift)
        sigma = mixer.sigma.scale.double().flatten()
        # (1 + sigma) * (W x + b) - sigma * (W GAP(x) + b): the biases leave b alone.
        self.proj_1 = _conv(mixer.proj_1, weight * (1 + sigma)[:, None], bias)
        self.decomposition = _conv(mixer.proj_1, weight * -sigma[:, None], None)
        self.act = nn.SiLU()
        self.gate, self.value = copy.deepcopy(mixer.gate), copy.deepcopy(mixer.value)  # with nothing to fold
        self.gate_act = nn.Sequential(*(nn.SiLU() for _ in mixer.gate_act))
        self.value_act = nn.Sequential(*(nn.SiLU() for _ in mixer.value_act))
        scale = block.layer_scale_1.double().flatten()
        weight, bias = _matrix(mixer.proj_2) * scale[:, None], _bias(mixer.proj_2) * scale + shift * scale
        self.proj_2 = _fill(copy.deepcopy(mixer.proj_2), weight, bias)
        self.factor = _buffer(block.layer_scale_1, 1 + scale * factor)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        y = self.act(self.proj_1(x) + self.decomposition(x.mean((2, 3), keepdim=True)))
        mixed = self.proj_2(self.gate_act(self.gate(y)), self.value_act(self.value(y)))
        return torch.addcmul(mixed, x, self.factor)


class FusedChannelMixer(nn.Module):
    """norm2, the channel mixer, layer_scale_2, the shortcut, and after a stage's last block its norm.

    x -> factor * x + fc2(y) + v * GELU(decompose(y)), with `factor` only where there is a norm.
    """

    def __init__(self, block: MogaBlock, norm: nn.Module | None) -> None:
        super().__init__()
        mixer: ChannelAggregation2d = block.mlp
        self.fc1 = _conv(mixer.fc1, *_fold_input(mixer.fc1, *norm_affine(block.norm2)))
        self.dwconv, self.act, self.decompose_act = copy.deepcopy(mixer.dwconv), nn.GELU(), nn.GELU()
        factor, shift = (None, None) if norm is None or isinstance(norm, nn.Identity) else norm_affine(norm)
        scale = block.layer_scale_2.double().flatten() * (1.0 if factor is None else factor)
        weight, bias = _matrix(mixer.fc2) * scale[:, None], _bias(mixer.fc2) * scale
        bias = bias if shift is None else bias + shift
        sigma = mixer.sigma.scale.double().flatten()
        self.uses_decompose = mixer.uses_decompose
        if self.uses_decompose:
            self.decompose = copy.deepcopy(mixer.decompose)
            self.common = _buffer(block.layer_scale_2, -(weight @ sigma))  # v, (1, C, 1, 1)
            weight = weight * (1 + sigma)
        else:  # the port's function, y + sigma * (y - GELU(y)): a line from GELU(y) through y
            self.line = _buffer(mixer.sigma.scale, 1 + sigma)
        self.fc2 = _conv(mixer.fc2, weight, bias)
        self.factor = None if factor is None else _buffer(block.layer_scale_2, factor)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W), hidden width h = C * ratio
        y = self.act(self.dwconv(self.fc1(x)))  # (B, h, H, W)
        if self.uses_decompose:
            out = torch.addcmul(self.fc2(y), self.decompose_act(self.decompose(y)), self.common)
        else:
            out = self.fc2(torch.lerp(self.decompose_act(y), y, self.line.to(y.dtype)))
        return out + x if self.factor is None else torch.addcmul(out, x, self.factor)


def norm_affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Give a batch norm in evaluation mode, or a frozen one, as x -> factor * x + shift, (C,) each in float64."""
    factor = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return factor.detach(), (norm.bias.double() - norm.running_mean.double() * factor).detach()


def _fuse_stage(network: MogaNet, stage: int) -> nn.Sequential:
    embed, norm = network.get_submodule(f"patch_embed{stage}"), network.get_submodule(f"norm{stage}")
    blocks = list(network.get_submodule(f"blocks{stage}").children())
    layers: list[nn.Module] = [*_fuse_embedding(embed)]
    for i, block in enumerate(blocks):
        assert isinstance(block, MogaBlock)
        layers += [FusedSpatialMixer(block), FusedChannelMixer(block, norm if i == len(blocks) - 1 else None)]
    return nn.Sequential(*layers)


def _fuse_embedding(embed: nn.Module) -> Iterable[nn.Module]:
    """Fold the norms after convolutions into them; what lies before a padded convolution can't be folded in."""
    if isinstance(embed, Downsample):
        return [fold_norm(embed.projection, embed.norm)]
    if not isinstance(embed, Stem):  # a stage that was pruned away
        return [nn.Identity()]
    first, first_norm, _, second, second_norm = embed.projection.children()
    return [fold_norm(first, first_norm), nn.GELU(), fold_norm(second, second_norm)]


def fold_norm(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Give a convolution that does what a norm behind it does too."""
    assert isinstance(conv, nn.Conv2d)
    factor, shift = norm_affine(norm)
    bias = 0.0 if conv.bias is None else _bias(conv)
    return _conv(conv, conv.weight.double() * factor[:, None, None, None], bias * factor + shift)


def _fold_input(conv: nn.Conv2d, factor: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Give matrix (out, in) and bias (out,) of a 1x1 convolution over factor * x + shift."""
    return _matrix(conv) * factor, _bias(conv) + _matrix(conv) @ shift


def _matrix(conv: nn.Conv2d) -> Tensor:
    return conv.weight.detach().double().flatten(1)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach().double()


def _conv(like: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Make a convolution as `like`, with these weights in its type."""
    options: Any = {"stride": like.stride, "padding": like.padding, "dilation": like.dilation, "bias": bias is not None}
    made = nn.Conv2d(like.in_channels, like.out_channels, like.kernel_size, **options)  # type: ignore[arg-type]
    return _fill(made.to(like.weight.device, like.weight.dtype), weight, bias)


ConvType = TypeVar("ConvType", bound=nn.Conv2d)


def _fill(conv: ConvType, weight: Tensor, bias: Tensor | None) -> ConvType:
    with torch.no_grad():
        conv.weight.copy_(weight.detach().view_as(conv.weight))
        if bias is not None and conv.bias is not None:
            conv.bias.copy_(bias.detach())
    return conv


def _buffer(like: Tensor, values: Tensor) -> nn.Parameter:
    """Keep a value for each channel, (1, C, 1, 1), in the type of `like`."""
    return nn.Parameter(values.detach().to(like.dtype).view(1, -1, 1, 1), requires_grad=False)


@torch.no_grad()
def crop_to_size(
    fused: FusedMogaNet, in_chans: int, size: tuple[int, int], *, pad_by_hand: bool = False
) -> FusedMogaNet:
    """Give a copy for images of one size (height, width), its depth-wise kernels cropped to their maps for good.

    For exports, whose graphs can't choose the kernel at each call. pad_by_hand: pad wide maps before the convolution,
    as DepthwiseConv2d does, for graphs that run on oneDNN.
    """
    fused = copy.deepcopy(fused)
    found: dict[str, tuple[int, int]] = {}

    def remember(name: str) -> Any:
        return lambda module, inputs: found.update({name: (inputs[0].shape[2], inputs[0].shape[3])})

    layers = {name: module for name, module in fused.named_modules() if isinstance(module, DepthwiseConv2d)}
    hooks = [module.register_forward_pre_hook(remember(name)) for name, module in layers.items()]
    weight = next(fused.parameters())
    fused(torch.zeros(1, in_chans, *size, dtype=weight.dtype, device=weight.device))
    for hook in hooks:
        hook.remove()
    for name, module in layers.items():
        conv = module.cropped(*found[name])
        side = conv.padding[1]
        if pad_by_hand and isinstance(side, int) and side > WIDEST_PADDING:
            conv.padding = (int(conv.padding[0]), 0)
            fused.set_submodule(name, nn.Sequential(nn.ZeroPad2d((side, side, 0, 0)), conv))
        else:
            fused.set_submodule(name, conv)
    return fused
