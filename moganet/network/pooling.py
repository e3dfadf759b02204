"""How a map becomes one value a channel: the mean, which is ours, or another of timm's kinds."""

import importlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AveragePool(nn.Module):
    """The mean over a map, by the name that timm's pooling has."""

    pool_type = "avg"

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    @torch.jit.ignore
    def is_identity(self) -> bool:
        return False


def make_pool(kind: str) -> nn.Module:
    """Make a pooling of timm's kinds; "" keeps the map as it is."""
    if kind == "avg":  # without timm, for which one would wait
        return AveragePool()
    pool: nn.Module = importlib.import_module("timm.layers").SelectAdaptivePool2d(pool_type=kind, flatten=bool(kind))
    return pool
