"""`info`: the table of variants, or what one network costs, its layers, and what a file says of itself."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moganet.config import Architecture, Preprocessing
from moganet.errors import ConfigError, did_you_mean
from moganet.files import neighbours
from moganet.inference.exported import is_exported, read_metadata
from moganet.inference.load import describe, list_models
from moganet.models.choices import Choices
from moganet.models.chosen import Chosen, function_of
from moganet.models.description import OWN, ModelDescription
from moganet.models.evaluations import evaluations_of, release_of
from moganet.models.find import find, trained_name
from moganet.models.provenance import without_place
from moganet.models.timms import configuration, is_timms
from moganet.network import OURS, VARIANTS, full_name
from moganet.network.dense.outline import has_outline, outline_of
from moganet.network.outline import LayerCost
from moganet.network.releases import PUBLISHED, SHIPPED
from moganet.notices import noted
from moganet.numbers import dimensions, percent, short
from moganet.results import Record, Result
from moganet.tasks import TASKS

DEFAULT_SIZE = 224
SHOWN = 6  # names of classes


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

    task: what it answers. accuracy: what was measured of it, on what, a text each. bytes: of the file.
    raw, calibrated, precision: of an exported file, whose tensors are not looked at.
    """

    path: str
    task: str
    accuracy: tuple[str, ...]
    bytes: int | None = None
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

    @property
    def head(self) -> str:
        """Say what stands on the network."""
        head = Architecture.model_validate(self.architecture).head
        return "" if head is None else f" with the head {head.title}"


class NetworkInfo(Result, Variant):
    """A network layer by layer, and the file that it was read from. input_size: height and width, in pixels.

    parameters, macs: None of an exported network that only its caller can build.
    """

    input_size: tuple[int, int]
    parameters: int | None  # type: ignore[assignment]
    macs: int | None  # type: ignore[assignment]
    layers: tuple[LayerCost, ...]
    file: FileInfo | None = None

    def lines(self) -> Iterator[str]:
        """Say what a person asks first."""
        size = "its layers are known to its caller alone"
        if self.parameters is not None and self.macs is not None:
            macs = f"{short(self.macs)} multiply-adds at {dimensions(self.input_size)}"
            size = f"{self.parameters:,} parameters, {macs}"
        if self.file is None:
            yield f"{self.name}: {size}"
            if trained := _trained(self.name):
                yield f"trained: {', '.join(trained)}"
            return
        yield f"{self.file.path}: {self.name}{self.file.head}, {self.file.task}"
        yield f"classes: {self.file.num_classes}{_some(self.file.class_names)}"
        unsaid = "not known of what was changed" if "changed" in self.file.provenance else "not said in the file"
        yield f"accuracy: {'; '.join(self.file.accuracy) or unsaid}"
        yield f"trained on: {trained_on(self.file.provenance)}"
        yield f"size: {size}{'' if self.file.bytes is None else f', {self.file.bytes / 1e6:.1f} MB'}"
        preprocessing = self.file.preprocessing
        side = dimensions(preprocessing["size"])
        how = {
            "center": f"the middle {percent(preprocessing['crop_fraction'], 0)}",
            "squash": "the whole, squashed",
            "fit": f"the whole, as large as fits, either way; sides are multiples of {preprocessing['multiple']}",
            "box": "a box at a time, widened to that shape and by a margin",
            "keep": "each image as it is; the size is what the cost is counted for",
        }[preprocessing["crop_mode"]]
        channels = f"{self.file.in_chans} channel{'s'[: self.file.in_chans != 1]}"
        yield f"input: {side} pixels of height and width, {channels} ({how})"


def _some(names: tuple[str, ...]) -> str:
    shown = names if len(names) <= SHOWN else (*names[: SHOWN - 2], "…", names[-1])
    return f" ({', '.join(name[:40] for name in shown)})" if names else ""


def _trained(variant: str) -> list[str]:
    """Name the trained models of a variant that have a name."""
    shipped = [f"{name} (in the package)" for name in SHIPPED if name.startswith(f"{variant}.")]
    released = {name: known for name, known in PUBLISHED.items() if name.startswith(f"{variant}.")}
    return shipped + [f"{name} ({known.accuracy})" for name, known in released.items()]


def trained_on(provenance: dict[str, Any]) -> str:
    """Say what a model was trained on, without places."""
    recipe = provenance.get("recipe") or {}
    data = provenance.get("data") or (recipe.get("data") or {}).get("source")
    if data is None:
        release = release_of(provenance)
        return "not said in the file" if release is None else f"{release.data}, by the file's name"
    parts = {"recipe": recipe.get("name"), "seed": provenance.get("seed"), "steps": provenance.get("steps")}
    told = [f"{name} {str(value)[:40]}" for name, value in parts.items() if value is not None]
    return ", ".join([without_place(data), *told])


def _on(measured: Any) -> str:
    """Say on what was measured."""
    keys = ("num_images", "data", "split")
    number, data, split = (str(measured.get(key, "unknown"))[:80] for key in keys)
    return f"on {number} images of {without_place(data)}, split {split}"


def accuracy_of(description: ModelDescription, path: Path) -> tuple[str, ...]:
    """Say what was measured: by `evaluate` in a run's folder, when it was shipped or released, in training."""
    task, provenance = TASKS[description.task.name], description.provenance
    found: list[str] = []
    if "changed" in provenance:  # which nobody has measured
        return ()
    for measured in (provenance.get("measured"), *evaluations_of(path, description)):
        if (said := task.say(measured)) is not None:
            found.append(f"{said} {_on(measured)}")
    if (said := task.say(provenance.get("validation"))) is not None:
        found.append(f"{said} on the validation images, in training")
    if (release := release_of(provenance)) is not None:
        by = f"as published for {release.file} ({release.weights} weights)"
        found.append(f"{release.accuracy} on {release.data}, {by}")
    return tuple(found)


@noted
def info(what: str | Path | None = None, size: int | None = None, **choices: Any) -> VariantsInfo | NetworkInfo:
    """Describe all variants, or one variant, network of timm's or MODEL: what a person asks first, and its layers.

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
        every = [_network(Architecture(name=name), _square(size)) for name in VARIANTS]
        rows = [Variant(**{key: one[key] for key in Variant.model_fields}) for one in every]
        return VariantsInfo(size=size, variants=tuple(rows))
    name = full_name(str(what))
    if name in VARIANTS or (is_timms(name) and "@" not in name):
        asked.pop("weights", None)
        side = configuration(name).get("input_size", (0, DEFAULT_SIZE))[1] if is_timms(name) else DEFAULT_SIZE
        return _network(Architecture(name=name).changed(**asked), _square(size or side))
    return _of_file(what, size, choices)


def _of_file(what: str | Path, size: int | None, choices: dict[str, Any]) -> NetworkInfo:
    is_named = is_timms(what) or trained_name(what) in list_models(pretrained=True)
    if not is_named and not Path(what).exists():
        like = did_you_mean(what, [*VARIANTS, *list_models(pretrained=True), *neighbours(Path(what))])
        raise ConfigError(f"there is no variant or model file {str(what)!r}; {like}variants: {', '.join(VARIANTS)}")
    if is_exported(Path(what)):
        if given := Choices(**choices).given():
            raise ConfigError(f"{what} is an exported file, whose function is fixed; leave out {', '.join(given)}")
        return _describe_export(Path(what), size)
    known = describe(what, Choices(**choices))
    description = known.description
    chosen = {**known.chosen, "path": str(find(what).path), "tensors": known.tensors, "sha256": description.sha256}
    file = _file(description, chosen, Path(what))
    return _network(description.architecture, _square(size) if size else description.preprocessing.size, file)


def _square(side: int) -> tuple[int, int]:
    return side, side


def _describe_export(path: Path, size: int | None) -> NetworkInfo:
    metadata = read_metadata(path)
    architecture = metadata.description.architecture
    how = ", with its preprocessing" * metadata.raw + ", its probabilities calibrated" * metadata.is_scaled
    chosen = {"path": str(path), "tensors": None, "sha256": None, **function_of(architecture)}
    chosen |= {"format": metadata.format, "reason": f"exported in {metadata.precision}{how}"}
    chosen |= {"precision": metadata.precision, "raw": metadata.raw, "calibrated": metadata.is_scaled}
    own = metadata.size or metadata.description.preprocessing.size
    return _network(architecture, _square(size) if size else own, _file(metadata.description, chosen, path))


def _file(description: ModelDescription, chosen: dict[str, Any], path: Path) -> FileInfo:
    return FileInfo(
        **chosen,
        task=description.task.name,
        accuracy=accuracy_of(description, path),
        bytes=Path(chosen["path"]).stat().st_size if Path(chosen["path"]).is_file() else None,
        num_classes=description.architecture.num_classes,
        in_chans=description.architecture.in_chans,
        architecture=description.architecture.model_dump(mode="json", exclude_none=True),
        preprocessing=description.preprocessing.model_dump(mode="json"),
        class_names=description.class_names,
        provenance=description.provenance,
        fixtures=len(description.fixtures),
    )


def _network(architecture: Architecture, size: tuple[int, int], file: FileInfo | None = None) -> NetworkInfo:
    if architecture.name.startswith(OWN):
        unknown: dict[str, Any] = {"parameters": None, "macs": None, "stages": [], "layers": ()}
        return NetworkInfo(name=architecture.name, size=size[0], input_size=size, ours=False, file=file, **unknown)
    layers, stages, parameters = _cost(architecture, size)
    return NetworkInfo(
        name=architecture.name,
        size=max(size),
        input_size=size,
        ours=architecture.name in OURS,
        parameters=parameters,
        macs=sum(layer.macs for layer in layers),
        stages=stages,
        layers=tuple(layers),
        **({} if file is None else {"file": file}),
    )


def _cost(architecture: Architecture, size: tuple[int, int]) -> tuple[list[LayerCost], list[list[int]], int]:
    """Give layers, stages' shapes and parameters: of a MogaNet by its description, of timm's by a network."""
    if not is_timms(architecture.name) and has_outline(architecture.head):
        try:
            found = outline_of(architecture, size)
        except ValueError as error:
            raise ConfigError(f"can't build {architecture.name}: {error}") from None
        return found.layers, found.stages, found.parameters
    cost, build = (importlib.import_module(f"moganet.{name}") for name in ("network.cost", "models.build"))
    network = build.build_blank(architecture)
    layers, stages = cost.measure(network, architecture.in_chans or Preprocessing().channels, size)
    return layers, stages, cost.count_parameters(network)
