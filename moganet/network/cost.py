"""What a network costs: parameters, multiply-adds and output shapes, layer by layer, without computing anything."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerCost:
    """A leaf module's share: output shape without the batch, parameters, and multiply-adds for one image."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


def layer_costs(network: nn.Module, in_chans: int, size: tuple[int, int]) -> list[LayerCost]:
    """List the leaf modules in the order of their execution for an image of in_chans x height x width.

    Multiply-adds as in the paper's tables: one a weight and position, one a bias, two a normalised value. The
    network is moved to the meta device: use a copy.
    """
    network = network.to("meta").eval()
    layers: list[LayerCost] = []
    hooks = [
        module.register_forward_hook(_recorder(name, layers))
        for name, module in network.named_modules()
        if not any(module.children()) and not isinstance(module, nn.Identity)
    ]
    with torch.no_grad():
        network(torch.empty(1, in_chans, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return layers


def _recorder(name: str, layers: list[LayerCost]) -> Any:
    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        layers.append(
            LayerCost(name, type(module).__name__, tuple(output.shape[1:]), parameters, _macs(module, output))
        )

    return record


def _macs(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d | nn.Linear):
        per_value = module.weight[0].numel() + (module.bias is not None)
        return output.numel() * per_value
    if isinstance(module, nn.BatchNorm2d):
        return 2 * output.numel()
    return 0


def count_macs(network: nn.Module, in_chans: int, size: tuple[int, int]) -> int:
    """Count an image's multiply-adds, as `layer_costs` does."""
    return sum(layer.macs for layer in layer_costs(network, in_chans, size))


def count_parameters(network: nn.Module) -> int:
    """Count a network's parameters, trained or frozen."""
    return sum(p.numel() for p in network.parameters())
