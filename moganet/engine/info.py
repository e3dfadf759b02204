"""`info`: the table of variants, or the layers of one network, and what a file says of itself."""

from pathlib import Path
from typing import Any

import torch

from moganet.config import Architecture, validate
from moganet.errors import ConfigError
from moganet.inference import ModelContents, list_models, read_model
from moganet.inference.exported import is_exported, read_metadata
from moganet.models.build import build_network_for
from moganet.models.formats import Choices, check_fit
from moganet.network import OURS, VARIANTS, full_name
from moganet.network.cost import count_parameters, layer_costs
from moganet.network.moganet import MogaNet
from moganet.notices import noted

DEFAULT_SIZE = 224


@noted
def info(what: str | Path | None = None, size: int | None = None, **choices: Any) -> dict[str, Any]:
    """Describe all variants, or one variant or MODEL layer by layer; no network is filled with weights for it.

    size: height and width of the input in pixels; None is the model's own, or 224. choices: as in `load`.
    The result has `variants`, or `name`, `parameters`, `macs`, `stages` and `layers`; shapes are (C, H, W). For a file
    it has `file` besides: format, which weights and function and why, classes, preprocessing, provenance.
    """
    if size is not None and size < 1:
        raise ConfigError(f"the size is {size}; it must be at least 1 pixel")
    if what is None:
        if given := [name for name, value in choices.items() if value is not None]:
            raise ConfigError(f"{', '.join(given)} can be chosen for one network; name it")
        rows = [_describe(Architecture(name=name), size or DEFAULT_SIZE) for name in VARIANTS]
        return {"size": size or DEFAULT_SIZE, "variants": [{k: v for k, v in r.items() if k != "layers"} for r in rows]}
    if full_name(str(what)) in VARIANTS:
        asked = {name: value for name, value in choices.items() if value is not None and name != "weights"}
        architecture = validate(Architecture, {"name": full_name(str(what)), **asked}, str(what))
        return _describe(architecture, size or DEFAULT_SIZE)
    base, _, tag = str(what).partition(".")
    if not Path(what).exists() and f"{full_name(base)}.{tag}" not in list_models(pretrained=True):
        raise ConfigError(f"there is no variant or model file {str(what)!r}; variants: {', '.join(VARIANTS)}")
    if is_exported(Path(what)):
        if given := [name for name, value in choices.items() if value is not None]:
            raise ConfigError(f"{what} is an exported file, whose function is fixed; leave out {', '.join(given)}")
        return _describe_export(Path(what), size)
    contents = read_model(what, Choices(**choices))
    description = contents.description
    described = _describe(description.architecture, size or max(description.preprocessing.size), contents)
    return {**described, "file": _describe_file(contents)}


def _describe_export(path: Path, size: int | None) -> dict[str, Any]:
    metadata = read_metadata(path)
    description, architecture = metadata.description, metadata.description.architecture
    return {
        **_describe(architecture, size or max(metadata.size or description.preprocessing.size)),
        "file": {
            "path": str(path),
            "format": metadata.format,
            "reason": f"exported in {metadata.precision}"
            + (", with its preprocessing" if metadata.raw else "")
            + (", its probabilities calibrated" if metadata.is_scaled else ""),
            "precision": metadata.precision,
            "raw": metadata.raw,
            "calibrated": metadata.is_scaled,
            "gate": architecture.gate,
            "channel_aggregation": architecture.channel_aggregation,
            "stem_stride": architecture.stem_stride,
            "tensors": None,
            "num_classes": architecture.num_classes,
            "in_chans": architecture.in_chans,
            "architecture": architecture.model_dump(mode="json", exclude_none=True),
            "preprocessing": description.preprocessing.model_dump(mode="json"),
            "class_names": list(description.class_names),
            "provenance": description.provenance,
            "sha256": None,
            "fixtures": len(description.fixtures),
        },
    }


def _describe_file(contents: ModelContents) -> dict[str, Any]:
    description = contents.description
    return {
        "path": str(contents.path),
        **contents.chosen,
        "tensors": len(contents.state),
        "num_classes": description.architecture.num_classes,
        "in_chans": description.architecture.in_chans,
        "architecture": description.architecture.model_dump(mode="json", exclude_none=True),
        "preprocessing": description.preprocessing.model_dump(mode="json"),
        "class_names": list(description.class_names),
        "provenance": description.provenance,
        "sha256": description.sha256,
        "fixtures": len(description.fixtures),
    }


def _describe(architecture: Architecture, size: int, contents: ModelContents | None = None) -> dict[str, Any]:
    with torch.device("meta"):
        network = build_network_for(architecture)
    assert isinstance(network, MogaNet)
    if contents is not None:
        counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
        check_fit({**counters, **contents.state}, network.state_dict(), contents.path)
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
