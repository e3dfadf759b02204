"""`info`: the table of variants, or the layers of one network."""

from pathlib import Path
from typing import Any

import torch

from moganet.config import Architecture
from moganet.errors import ConfigError
from moganet.inference import load_model_file
from moganet.inference.load import build_network_for
from moganet.network import VARIANTS, full_name
from moganet.network.cost import LayerCost, count_macs, count_parameters, layer_costs
from moganet.network.moganet import MogaNet

OURS = ("moganet_nano",)


def info(what: str | Path | None = None, size: int = 224) -> dict[str, Any]:
    """Describe all variants, or one variant or model file layer by layer.

    size: height and width of the input in pixels. The result has `variants`, or `name`, `parameters`, `macs`,
    `stages` and `layers`; shapes are (C, H, W).
    """
    if size < 1:
        raise ConfigError(f"the size is {size}; it must be at least 1 pixel")
    if what is None:
        return {"size": size, "variants": [_summary(Architecture(name=name), size) for name in VARIANTS]}
    architecture = _architecture(what)
    layers = layer_costs(_meta_network(architecture), architecture.in_chans or 3, (size, size))
    return {"size": size, **_summary(architecture, size), "layers": [vars(layer) for layer in layers]}


def _architecture(what: str | Path) -> Architecture:
    if Path(what).is_file():
        return load_model_file(Path(what))[1].architecture
    if full_name(str(what)) not in VARIANTS:
        raise ConfigError(f"there is no variant or model file {str(what)!r}; variants: {', '.join(VARIANTS)}")
    return Architecture(name=full_name(str(what)))


def _meta_network(architecture: Architecture) -> MogaNet:
    with torch.device("meta"):
        network = build_network_for(architecture)
    assert isinstance(network, MogaNet)
    return network


def _summary(architecture: Architecture, size: int) -> dict[str, Any]:
    network = _meta_network(architecture)
    in_chans = architecture.in_chans or 3
    return {
        "name": architecture.name,
        "ours": architecture.name in OURS,
        "parameters": count_parameters(network),
        "macs": count_macs(network, in_chans, (size, size)),
        "stages": [list(shape) for shape in _stage_shapes(network, in_chans, size)],
    }


def _stage_shapes(network: MogaNet, in_chans: int, size: int) -> list[tuple[int, ...]]:
    layers: dict[str, LayerCost] = {layer.name: layer for layer in layer_costs(network, in_chans, (size, size))}
    return [layers[stage["module"]].output for stage in network.feature_info]
