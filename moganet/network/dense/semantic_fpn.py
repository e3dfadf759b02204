"""Semantic FPN's head (Kirillov et al. 2019, section 3): each level convolved, enlarged to the finest, and summed."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from moganet.network.dense.layers import ConvNorm, PixelClassifier, resized


class SemanticFpn(PixelClassifier):
    """Maps of one width `in_dim` to logits (B, classes, H/4, W/4). strides: of the maps, the finest first."""

    def __init__(self, in_dim: int, dim: int, strides: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__(dim, classes, dropout)
        self.scale_heads = nn.ModuleList(_level(in_dim, dim, stride // strides[0]) for stride in strides)

    def features(self, maps: list[Tensor]) -> Tensor:
        levels = [head(x) for head, x in zip(self.scale_heads, maps, strict=True)]
        summed: Tensor = levels[0]
        for level in levels[1:]:
            summed = summed + resized(level, summed)  # sides that are no multiple of the stride differ by a place
        return summed


def _level(in_dim: int, dim: int, ratio: int) -> nn.Sequential:
    """Give a level's convolutions, and after each a doubling, until the finest level's stride is reached."""
    doublings = int(math.log2(ratio))
    layers: list[nn.Module] = []
    for number in range(max(1, doublings)):
        layers.append(ConvNorm(dim if number else in_dim, dim, 3))
        if number < doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return nn.Sequential(*layers)
