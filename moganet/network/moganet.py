"""The MogaNet pyramid: stem, four stages of blocks, and a linear head (paper, section 4.1 and table 1)."""

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.utils.checkpoint import checkpoint

from moganet.compat import take_indices
from moganet.config import ChannelAggregation, ConvInit, Gate
from moganet.network.blocks import ChannelAggregation2d, MogaBlock, check_choice, record_orders
from moganet.network.pooling import make_pool
from moganet.network.releases import loaders
from moganet.network.shapes import NUM_STAGES, STEM_STRIDES, check_shape, samplings


class Stem(nn.Module):
    """Two 3x3 convolutions; which of them stride is the only thing that `stem_stride` changes."""

    def __init__(self, in_chans: int, dim: int, stride: int) -> None:
        super().__init__()
        first, second = STEM_STRIDES[stride]
        self.projection = nn.Sequential(
            nn.Conv2d(in_chans, dim // 2, 3, stride=first, padding=1),
            nn.BatchNorm2d(dim // 2),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, stride=second, padding=1),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W) -> (B, C, H/stride, W/stride)
        y: Tensor = self.projection(x)
        return y


class Downsample(nn.Module):
    """The embedding of stages 2 to 4: a 3x3 convolution of stride 2 and its norm.

    Where no coarser map is wanted, the stride is 1, and after another such embedding the convolution is dilated.
    """

    def __init__(self, in_dim: int, dim: int, stride: int = 2, dilation: int = 1) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H/stride, W/stride)
        y: Tensor = self.norm(self.projection(x))
        return y


class Stage(nn.Sequential):
    """A stage's blocks in turn, recomputed in the backward pass when `grad_checkpointing` is set."""

    def __init__(self, *blocks: MogaBlock) -> None:
        super().__init__(*blocks)
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        if self.grad_checkpointing and not is_scripting():
            return self._recomputed(x)
        for block in self:
            x = block(x)
        return x

    @torch.jit.unused
    def _recomputed(self, x: Tensor) -> Tensor:
        for block in self:
            x = checkpoint(block, x, use_reentrant=False)
        return x


class MogaNet(nn.Module):
    """Multi-order gated aggregation network.

    Images (B, in_chans, H, W) to logits (B, num_classes); the four stage maps have strides 1, 2, 4, 8 times
    `stem_stride`, but none above `output_stride`. Parameter names are those of the reference repository
    (Westlake-AI/MogaNet).
    """

    variant: str | None = None  # by whose name it was built
    __jit_unused_properties__: ClassVar[list[str]] = ["pretrained_cfg", "default_cfg"]

    if TYPE_CHECKING:  # made stage by stage in __init__
        patch_embed1: Stem
        patch_embed2: Downsample
        patch_embed3: Downsample
        patch_embed4: Downsample
        blocks1: Stage
        blocks2: Stage
        blocks3: Stage
        blocks4: Stage
        norm1: nn.BatchNorm2d
        norm2: nn.BatchNorm2d
        norm3: nn.BatchNorm2d
        norm4: nn.BatchNorm2d

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        embed_dims: Sequence[int] = (32, 64, 96, 192),
        depths: Sequence[int] = (3, 3, 10, 2),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        *,
        stem_stride: int = 4,
        output_stride: int = 32,
        gate: Gate = "single",
        channel_aggregation: ChannelAggregation = "reference",
        dilations: Sequence[int] = (1, 2, 3),
        channel_split: Sequence[int] = (1, 3, 4),
        dilate_last_stage: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        ls_init_value: float = 1e-5,
        conv_init: ConvInit = "fan_out",
        global_pool: str = "avg",
        crop_kernels: bool = True,
    ) -> None:
        """Build the network.

        num_classes: 0 leaves the head out, so that `forward` gives pooled features.
        embed_dims, depths, mlp_ratios: width, number of blocks and channel mixer's ratio of each of the four stages.
        stem_stride: 4, 2 or 1; smaller for small images. The tensors are the same for each.
        output_stride: 32, 16 or 8: the coarsest map's stride, for dense tasks. Beyond it embeddings stride no more, and
            the convolutions after them are dilated instead, as in timm's networks. The tensors are the same for each.
        gate, channel_aggregation: the functions by which released checkpoints differ (see blocks.py).
        dilations, channel_split: of the multi-order convolution; `dilate_last_stage=False` sets the last stage's
            third dilation to 1, as the reference's `attn_final_dilation=False` does.
        drop_rate: dropout within the channel mixers, as in the reference (not timm's dropout before the head).
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 over all blocks.
        crop_kernels: leave out the taps of depth-wise kernels that meet only padding; no result changes.
        conv_init: "fan_out" as in the reference, "fan_in" as in the PaddlePaddle port.
        Raises ValueError for a shape or a choice that does not exist.
        """
        super().__init__()
        check_shape(embed_dims, depths, mlp_ratios, stem_stride)
        check_choice("gate", gate, Gate)
        check_choice("channel_aggregation", channel_aggregation, ChannelAggregation)
        check_choice("conv_init", conv_init, ConvInit)
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features = self.head_hidden_size = embed_dims[-1]
        self.drop_rate = drop_rate
        self.gate, self.channel_aggregation, self.stem_stride = gate, channel_aggregation, stem_stride
        stages = samplings(stem_stride, output_stride)
        info: list[dict[str, Any]] = [
            {"num_chs": dim, "reduction": stage.reduction, "module": f"norm{i + 1}"}
            for i, (dim, stage) in enumerate(zip(embed_dims, stages, strict=True))
        ]
        self.feature_info = info
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))  # type: ignore[no-untyped-call]
        previous = in_chans
        for i, (dim, ratio) in enumerate(zip(embed_dims, mlp_ratios, strict=True)):
            undilated = i == NUM_STAGES - 1 and not dilate_last_stage
            options: dict[str, Any] = {
                "gate": gate,
                "channel_aggregation": channel_aggregation,
                "dilations": (*dilations[:2], 1) if undilated else dilations,
                "channel_split": channel_split,
                "drop_rate": drop_rate,
                "ls_init_value": ls_init_value,
                "crop_kernels": crop_kernels,
                "growth": stages[i].growth,
            }
            embed = Downsample(previous, dim, *stages[i][:2]) if i else Stem(in_chans, dim, stem_stride)
            blocks = Stage(*(MogaBlock(dim, ratio, drop_path=rate, **options) for rate in rates[i].tolist()))
            self.add_module(f"patch_embed{i + 1}", embed)
            self.add_module(f"blocks{i + 1}", blocks)
            self.add_module(f"norm{i + 1}", nn.BatchNorm2d(dim))
            previous = dim
        self.global_pool = make_pool(global_pool)
        self.head = nn.Linear(previous, num_classes) if num_classes > 0 else nn.Identity()
        self._init_weights(conv_init)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Give timm's configuration, which its tools ask a network for; timm sets it on those that it makes."""
        if "_cfg" not in vars(self):
            if self.variant is None:
                raise AttributeError("it was made by its shape, and not by a variant's name")
            self._cfg: dict[str, Any] = importlib.import_module("timm").get_pretrained_cfg(self.variant).to_dict()
        return self._cfg

    @pretrained_cfg.setter
    def pretrained_cfg(self, cfg: dict[str, Any]) -> None:
        self._cfg = cfg

    default_cfg = pretrained_cfg

    def _init_weights(self, conv_init: ConvInit) -> None:
        if self.norm1.weight.is_meta:  # there is nothing to draw into, and torch would import seconds of code for it
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                channels = module.out_channels if conv_init == "fan_out" else module.in_channels
                fan = math.prod(module.kernel_size) * channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan))
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Give the last stage's map, (B, C4, H/32, W/32) at stem stride 4 and output stride 32."""
        x = self.norm1(self.blocks1(self.patch_embed1(x)))
        x = self.norm2(self.blocks2(self.patch_embed2(x)))
        x = self.norm3(self.blocks3(self.patch_embed3(x)))
        x = self.norm4(self.blocks4(self.patch_embed4(x)))
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool a map and classify it: (B, C4, h, w) -> (B, num_classes), or (B, C4) with `pre_logits`."""
        x = self.global_pool(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits, (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Give the stages' maps, and the last map unless `intermediates_only`.

        indices: the last n stages if an int, all if None, else those named. The maps are taken after each stage's
        norm, which the next stage reads: `norm` has nothing to add. `stop_early` runs no stage after the last taken.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; MogaNet's maps are 'NCHW'")
        take, last = take_indices(NUM_STAGES, indices)
        maps = []
        for i in range(last + 1 if stop_early else NUM_STAGES):
            for part in ("patch_embed", "blocks", "norm"):
                x = self.get_submodule(f"{part}{i + 1}")(x)
            if i in take:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    @torch.jit.ignore
    def forward_orders(self, x: Tensor) -> dict[str, Tensor]:
        """Give what each block computes on the way, by name, for those who explain it.

        Names are `blocks{stage}.{block}.{map}` with the maps `gate` (after its activation), `order_1`, `order_2`,
        `order_3` (the branches of growing dilation, C/8, 3C/8 and C/2 channels), `feature_decomposition`
        (y - GAP(y)) and `channel_decomposition` (y - GELU(decompose(y)), hidden width), each (B, channels, H, W).
        Gradients flow through them where they are enabled.
        """
        maps: dict[str, Tensor] = {}
        hooks = []
        for stage in range(1, NUM_STAGES + 1):
            for i, block in enumerate(self.get_submodule(f"blocks{stage}").children()):
                assert isinstance(block, MogaBlock)
                hooks += record_orders(block, f"blocks{stage}.{i}", maps)
        try:
            self.forward_features(x)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of `indices`, and the head; give the indices from 0.

        Each stage's norm is part of its map, so `prune_norm` has nothing to remove.
        """
        take, last = take_indices(NUM_STAGES, indices)
        for i in range(last + 1, NUM_STAGES):
            for part in ("patch_embed", "blocks", "norm"):
                self.set_submodule(f"{part}{i + 1}", nn.Identity())
        self.num_features = self.head_hidden_size = int(self.feature_info[last]["num_chs"])
        if prune_head or last < NUM_STAGES - 1:
            self.reset_classifier(0, "")
        kept: list[int] = take
        return kept

    @torch.jit.ignore
    def load_pretrained(self, path: str, weights: str | None = None) -> None:
        """Read a released file into this network; timm calls it for weights of its `custom_load` configurations.

        weights: "plain" or "ema"; None takes those whose accuracy was published. A head for other classes stays as
        it is, and a stem for other channels is adapted, which the log says. Raises WeightsError.
        """
        loaders().read(self, Path(path), weights)

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Give the head's linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Start a head of `num_classes` anew; 0 leaves it out."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = make_pool(global_pool)
        device = next(self.parameters()).device
        self.head = nn.Linear(self.num_features, num_classes, device=device) if num_classes > 0 else nn.Identity()
        if isinstance(self.head, nn.Linear):
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    @torch.jit.ignore
    def set_lean(self, enable: bool = True) -> None:
        """Compute the channel mixers' activations again in the backward pass, for half of the memory (see lean.py)."""
        for module in self.modules():
            if isinstance(module, ChannelAggregation2d):
                module.is_lean = enable

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay must spare: norms, biases, layer scales and sigmas.

        The reference's own rule (skip 1-D tensors) does decay the last two, since they have four dimensions; OpenMixup
        and the dense-task configurations exempt them, and so do we.
        """
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim <= 1 or "layer_scale" in name or name.endswith("sigma.scale")
        }

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Group the parameters from the stem to the head, a stage or a block a group (for layer-wise rates)."""
        block = r"^(?:patch_embed|blocks|norm)(\d)"
        fine = [(r"^blocks(\d)\.(\d+)", None), (r"^patch_embed(\d)", (0,)), (r"^norm(\d)", (99999,))]
        return {"stem": r"^patch_embed1", "blocks": block if coarse else fine}
