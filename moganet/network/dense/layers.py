"""The layers of which necks and heads are made, by the names that mmcv's checkpoints have."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import functional as F

from moganet.network.fuse import fold_norm


class Conv(nn.Module):
    """A padded convolution with a bias and nothing behind it."""

    def __init__(self, in_dim: int, dim: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, kernel, stride, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H, W)
        y: Tensor = self.conv(x)
        return y


class ConvNorm(nn.Module):
    """A padded convolution, its norm, and ReLU."""

    def __init__(self, in_dim: int, dim: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, kernel, padding=kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(dim)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', H, W)
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class PixelClassifier(nn.Module, ABC):
    """A class for each place of a map, by `conv_seg` behind what a head computes in `features`."""

    def __init__(self, dim: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(dim, classes, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)  # as the reference's heads begin
        nn.init.zeros_(self.conv_seg.bias)  # type: ignore[arg-type]

    @abstractmethod
    def features(self, maps: list[Tensor]) -> Tensor:
        """Give what the classes are told by, (B, dim, h, w)."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give the logits (B, classes, h, w) of the maps."""
        logits: Tensor = self.conv_seg(self.dropout(self.features(maps)))
        return logits


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Give maps the height and width of another's, bilinear between the places' middles."""
    return sized(x, (like.shape[2], like.shape[3]))


def sized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Give maps a height and width, bilinear between the places' middles."""
    # A graph for any size must not take it for granted that the sizes are equal.
    return x if not is_traced() and x.shape[2:] == size else F.interpolate(x, size, mode="bilinear")


def is_traced() -> bool:
    """Tell whether a graph is made of what is computed, and nothing may be taken of its values or lengths."""
    traced: bool = torch.compiler.is_exporting() or is_tracing()  # type: ignore[no-untyped-call]
    return traced


def fold_norms(network: nn.Module) -> None:
    """Fold the norms of heads into the convolutions before them, in place."""
    with torch.random.fork_rng(devices=[]):  # as in `fuse`
        for module in network.modules():
            if isinstance(module, ConvNorm):
                module.conv, module.bn = fold_norm(module.conv, module.bn), nn.Identity()
