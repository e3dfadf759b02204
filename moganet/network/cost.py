"""What a network costs: parameters, multiply-adds and output shapes, layer by layer, without computing anything."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from moganet.errors import ConfigError
from moganet.network.outline import LayerCost


def layer_costs(network: nn.Module, in_chans: int, size: tuple[int, int]) -> list[LayerCost]:
    """List the leaf modules in the order of their execution for an image of in_chans x height x width.

    Multiply-adds as in the paper's tables: one a weight and position, one a bias, two a normalised value; products of
    activations, as in attention, are not counted. The network is moved to the meta device: use a copy.
    """
    return measure(network, in_chans, size)[0]


def measure(network: nn.Module, in_chans: int, size: tuple[int, int]) -> tuple[list[LayerCost], list[list[int]]]:
    """Give the layers' costs, and the shapes of `feature_info`'s maps. Raises ConfigError for an unfit image."""
    network = network.to("meta").eval()
    layers: list[LayerCost] = []
    stages: dict[str, list[int]] = {}
    named = [stage["module"] for stage in getattr(network, "feature_info", ())]
    hooks = []
    for name, module in network.named_modules():
        if name in named:
            hooks.append(module.register_forward_hook(_of_stage(name, stages)))
        if not any(module.children()) and not isinstance(module, nn.Identity):
            hooks.append(module.register_forward_hook(_recorder(name, layers)))
    try:
        with torch.no_grad():
            network(torch.empty(1, in_chans, *size, device="meta"))
    except Exception as error:  # a network of anyone's making
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{type(network).__name__} can't take an image of {size[0]}x{size[1]}: {reason}") from None
    finally:
        for hook in hooks:
            hook.remove()
    return layers, [stages[name] for name in named if name in stages]


def _of_stage(name: str, stages: dict[str, list[int]]) -> Callable[..., None]:
    return lambda module, inputs, output: stages.update({name: list(_shape(output))})


def _recorder(name: str, layers: list[LayerCost]) -> Callable[..., None]:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        macs, kind = _macs(module, output), type(module).__name__
        layers.append(LayerCost(name=name, kind=kind, output=_shape(output), parameters=parameters, macs=macs))

    return record


def _shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else ()


def _macs(module: nn.Module, output: Any) -> int:
    if not isinstance(output, Tensor):
        return 0
    if isinstance(module, nn.Conv2d | nn.Linear):
        return output.numel() * (module.weight[0].numel() + (module.bias is not None))
    if isinstance(module, nn.ConvTranspose2d):  # each place of its input adds to a kernel's places
        added = module.weight.numel() // module.out_channels // (module.stride[0] * module.stride[1])
        return output.numel() * (added + (module.bias is not None))
    return 2 * output.numel() if isinstance(module, nn.BatchNorm2d) else 0


def count_macs(network: nn.Module, in_chans: int, size: tuple[int, int]) -> int:
    """Count an image's multiply-adds, as `layer_costs` does."""
    return sum(layer.macs for layer in layer_costs(network, in_chans, size))


def count_parameters(network: nn.Module) -> int:
    """Count a network's parameters, trained or frozen."""
    return sum(p.numel() for p in network.parameters())
