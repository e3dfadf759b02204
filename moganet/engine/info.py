"""`info`: the table of variants, or the layers of one network."""

from pathlib import Path
from typing import Any

import torch

from moganet.config import Architecture
from moganet.errors import ConfigError
from moganet.inference import load
from moganet.inference.load import build_network_for
from moganet.network import OURS, VARIANTS, full_name
from moganet.network.cost import count_parameters, layer_costs
from moganet.network.moganet import MogaNet

DEFAULT_SIZE = 224


def info(what: str | Path | None = None, size: int | None = None) -> dict[str, Any]:
    """Describe all variants, or one variant or MODEL layer by layer.

    size: height and width of the input in pixels; None is the model's own, or 224. The result has `variants`, or
    `name`, `parameters`, `macs`, `stages` and `layers`; shapes are (C, H, W).
    """
    if size is not None and size < 1:
        raise ConfigError(f"the size is {size}; it must be at least 1 pixel")
    if what is None:
        rows = [_describe(Architecture(name=name), size or DEFAULT_SIZE) for name in VARIANTS]
        return {"size": size or DEFAULT_SIZE, "variants": [{k: v for k, v in r.items() if k != "layers"} for r in rows]}
    if full_name(str(what)) in VARIANTS:
        return _describe(Architecture(name=full_name(str(what))), size or DEFAULT_SIZE)
    if not Path(what).exists():
        raise ConfigError(f"there is no variant or model file {str(what)!r}; variants: {', '.join(VARIANTS)}")
    config = load(what).config
    return _describe(config.architecture, size or max(config.preprocessing.size))


def _describe(architecture: Architecture, size: int) -> dict[str, Any]:
    with torch.device("meta"):
        network = build_network_for(architecture)
    assert isinstance(network, MogaNet)
    layers = layer_costs(network, network.in_chans, (size, size))
    outputs = {layer.name: layer.output for layer in layers}
    return {
        "name": architecture.name,
        "size": size,
        "ours": architecture.name in OURS,
        "parameters": count_parameters(network),
        "macs": sum(layer.macs for layer in layers),
        "stages": [list(outputs[stage["module"]]) for stage in network.feature_info],
        "layers": [vars(layer) for layer in layers],
    }
