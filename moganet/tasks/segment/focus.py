"""A segmenter as a classifier of a part of an image, so that what explains classifiers explains it too."""

import torch
from torch import Tensor, nn


class Focus(nn.Module):
    """Images (B, C, H, W) to the mean logits (B, classes) of the pixels that `weights` (H, W) take."""

    weights: Tensor

    def __init__(self, network: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("weights", weights / weights.sum(), persistent=False)
        info = getattr(network, "feature_info", [])
        self.feature_info = [{**one, "module": f"network.{one['module']}"} for one in info]

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits."""
        return torch.einsum("bchw,hw->bc", self.network(x), self.weights.to(x.device))
