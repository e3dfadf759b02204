"""`info`: the table of variants, or the layers of one network, and what a file says of itself."""

import importlib
from pathlib import Path
from typing import Any

from moganet.config import Architecture, Preprocessing
from moganet.errors import ConfigError
from moganet.inference.exported import is_exported, read_metadata
from moganet.inference.load import describe, list_models
from moganet.models.choices import Choices
from moganet.models.chosen import Chosen, function_of
from moganet.models.description import ModelDescription
from moganet.models.find import find
from moganet.models.timms import configuration, is_timms
from moganet.network import OURS, VARIANTS, full_name
from moganet.network.outline import LayerCost, outline
from moganet.notices import noted
from moganet.results import Record, Result

DEFAULT_SIZE = 224


class Variant(Record):
    """What a network costs. ours: it is not the paper's. stages: shapes of its maps for an image of `size` pixels."""

    name: str
    size: int
    ours: bool
    parameters: int
    macs: int
    stages: list[list[int]]


class VariantsInfo(Result):
    """The table of variants."""

    size: int
    variants: tuple[Variant, ...]


class FileInfo(Chosen):
    """What a file of weights is: what was taken from it and why, and what it says of itself.

    raw, calibrated, precision: of an exported file, whose tensors are not looked at.
    """

    path: str
    weights: str | None = None  # type: ignore[assignment]  # an exported file has one kind
    precision: str | None = None
    raw: bool | None = None
    calibrated: bool | None = None
    tensors: int | None
    num_classes: int | None
    in_chans: int | None
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    sha256: str | None
    fixtures: int


class NetworkInfo(Result, Variant):
    """A network layer by layer, and the file that it was read from."""

    layers: tuple[LayerCost, ...]
    file: FileInfo | None = None


@noted
def info(what: str | Path | None = None, size: int | None = None, **choices: Any) -> VariantsInfo | NetworkInfo:
    """Describe all variants, or one variant, network of timm's or MODEL layer by layer.

    No network is filled with weights for it. size: height and width of the input in pixels; None is the model's own,
    or 224. choices: as in `load`. Shapes are (C, H, W) where there are channels and places. For a file the result has
    `file` besides.
    """
    if size is not None and size < 1:
        raise ConfigError(f"the size is {size}; it must be at least 1 pixel")
    asked = Choices(**choices).given()
    if what is None:
        if asked:
            raise ConfigError(f"{', '.join(asked)} can be chosen for one network; name it")
        size = size or DEFAULT_SIZE
        every = [_network(Architecture(name=name), size) for name in VARIANTS]
        rows = [Variant(**{key: one[key] for key in Variant.model_fields}) for one in every]
        return VariantsInfo(size=size, variants=tuple(rows))
    name = full_name(str(what))
    if name in VARIANTS or (is_timms(name) and "@" not in name):
        asked.pop("weights", None)
        side = configuration(name).get("input_size", (0, DEFAULT_SIZE))[1] if is_timms(name) else DEFAULT_SIZE
        return _network(Architecture(name=name).changed(**asked), size or side)
    return _of_file(what, size, choices)


def _of_file(what: str | Path, size: int | None, choices: dict[str, Any]) -> NetworkInfo:
    base, _, tag = str(what).partition(".")
    is_named = is_timms(what) or f"{full_name(base)}.{tag}" in list_models(pretrained=True)
    if not is_named and not Path(what).exists():
        raise ConfigError(f"there is no variant or model file {str(what)!r}; variants: {', '.join(VARIANTS)}")
    if is_exported(Path(what)):
        if given := Choices(**choices).given():
            raise ConfigError(f"{what} is an exported file, whose function is fixed; leave out {', '.join(given)}")
        return _describe_export(Path(what), size)
    known = describe(what, Choices(**choices))
    description = known.description
    chosen = {**known.chosen, "path": str(find(what).path), "tensors": known.tensors, "sha256": description.sha256}
    return _network(description.architecture, size or max(description.preprocessing.size), _file(description, chosen))


def _describe_export(path: Path, size: int | None) -> NetworkInfo:
    metadata = read_metadata(path)
    architecture = metadata.description.architecture
    how = ", with its preprocessing" * metadata.raw + ", its probabilities calibrated" * metadata.is_scaled
    chosen = {"path": str(path), "tensors": None, "sha256": None, **function_of(architecture)}
    chosen |= {"format": metadata.format, "reason": f"exported in {metadata.precision}{how}"}
    chosen |= {"precision": metadata.precision, "raw": metadata.raw, "calibrated": metadata.is_scaled}
    side = max(metadata.size or metadata.description.preprocessing.size)
    return _network(architecture, size or side, _file(metadata.description, chosen))


def _file(description: ModelDescription, chosen: dict[str, Any]) -> FileInfo:
    return FileInfo(
        **chosen,
        num_classes=description.architecture.num_classes,
        in_chans=description.architecture.in_chans,
        architecture=description.architecture.model_dump(mode="json", exclude_none=True),
        preprocessing=description.preprocessing.model_dump(mode="json"),
        class_names=description.class_names,
        provenance=description.provenance,
        fixtures=len(description.fixtures),
    )


def _network(architecture: Architecture, size: int, file: FileInfo | None = None) -> NetworkInfo:
    layers, stages, parameters = _cost(architecture, size)
    return NetworkInfo(
        name=architecture.name,
        size=size,
        ours=architecture.name in OURS,
        parameters=parameters,
        macs=sum(layer.macs for layer in layers),
        stages=stages,
        layers=tuple(layers),
        **({} if file is None else {"file": file}),
    )


def _cost(architecture: Architecture, size: int) -> tuple[list[LayerCost], list[list[int]], int]:
    """Give layers, stages' shapes and parameters: of a MogaNet by its description, of timm's by a network."""
    if not is_timms(architecture.name):
        try:
            found = outline(architecture, (size, size))
        except ValueError as error:
            raise ConfigError(f"can't build {architecture.name}: {error}") from None
        return found.layers, found.stages, found.parameters
    cost, build = (importlib.import_module(f"moganet.{name}") for name in ("network.cost", "models.build"))
    network = build.build_blank(architecture)
    layers, stages = cost.measure(network, architecture.in_chans or Preprocessing().channels, (size, size))
    return layers, stages, cost.count_parameters(network)
