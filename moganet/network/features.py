"""A network that gives its pooled last features beside its logits, whatever network it is."""

from typing import Any

from torch import Tensor, nn

from moganet.network.fuse import FusedMogaNet
from moganet.network.moganet import MogaNet


class WithFeatures(nn.Module):
    """Images (B, C, H, W) to logits (B, classes), which are the network's own, and features (B, D)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give both."""
        network = self.network
        if isinstance(network, MogaNet | FusedMogaNet):
            features = network.global_pool(network.forward_features(x))
            return network.head(features), features
        return _caught(network, x)


def with_features(network: nn.Module) -> nn.Module:
    """Give a network that gives features too; the network itself where its features can't be told."""
    return WithFeatures(network) if gives_features(network) else network


def gives_features(network: nn.Module) -> bool:
    """Tell whether a network ends in a linear head over pooled features, which are what goes into it."""
    return isinstance(_head(network), nn.Linear)


def _head(network: nn.Module) -> Any:
    if isinstance(network, MogaNet | FusedMogaNet):
        return network.head
    classifier = getattr(network, "get_classifier", None)
    return classifier() if callable(classifier) else None


def _caught(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run a network of others, and catch what goes into its head."""
    caught: list[Tensor] = []
    hook = _head(network).register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    try:
        logits = network(x)
    finally:
        hook.remove()
    features = caught[-1]
    return logits, features if features.ndim == 2 else features.flatten(1, -2).mean(1)  # of tokens
