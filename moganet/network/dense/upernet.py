"""UPerNet's head (Xiao et al. 2018): pyramid pooling of the last map, a feature pyramid, and all levels fused."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moganet.network.dense.layers import ConvNorm, PixelClassifier, resized


class UperNet(PixelClassifier):
    """Maps of the given widths to logits (B, classes, H/4, W/4)."""

    def __init__(self, widths: Sequence[int], dim: int, pools: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__(dim, classes, dropout)
        last, others = widths[-1], widths[:-1]
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvNorm(last, dim)) for side in pools
        )
        self.bottleneck = ConvNorm(last + len(pools) * dim, dim, 3)
        self.lateral_convs = nn.ModuleList(ConvNorm(width, dim) for width in others)
        self.fpn_convs = nn.ModuleList(ConvNorm(dim, dim, 3) for _ in others)
        self.fpn_bottleneck = ConvNorm(len(widths) * dim, dim, 3)

    def features(self, maps: list[Tensor]) -> Tensor:
        levels = [conv(x) for conv, x in zip(self.lateral_convs, maps[:-1], strict=True)]
        levels.append(self._pooled(maps[-1]))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resized(levels[i], levels[i - 1])
        levels[:-1] = [conv(x) for conv, x in zip(self.fpn_convs, levels[:-1], strict=True)]
        fused: Tensor = self.fpn_bottleneck(torch.cat([resized(level, levels[0]) for level in levels], 1))
        return fused

    def _pooled(self, x: Tensor) -> Tensor:
        """Give the last map beside what its means over few large parts say."""
        means = [resized(module(x), x) for module in self.psp_modules]
        y: Tensor = self.bottleneck(torch.cat([x, *means], 1))
        return y


class Fcn(PixelClassifier):
    """A convolution and a class for each place of one of the maps: training's second head."""

    def __init__(self, width: int, dim: int, classes: int, dropout: float, level: int) -> None:
        super().__init__(dim, classes, dropout)
        self.level = level
        self.convs = nn.Sequential(ConvNorm(width, dim, 3))

    def features(self, maps: list[Tensor]) -> Tensor:
        y: Tensor = self.convs(maps[self.level])
        return y
