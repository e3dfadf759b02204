"""From a file, a run's folder, a hub folder or a name to tensors and their description, without building a network."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from timm.data import ImageNetInfo
from timm.models import adapt_input_conv
from torch import Tensor, nn

from moganet.config import Architecture, Preprocessing
from moganet.errors import WeightsError
from moganet.inference.model_file import METADATA_KEY, ModelDescription, check_hash, parse_description
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES
from moganet.weights import (
    Checkpoint,
    Choices,
    Content,
    architecture_of,
    as_checkpoint,
    as_run_checkpoint,
    checked_state,
    is_hub_folder,
    read_checkpoint,
    read_content,
)
from moganet.weights.download import fetch
from moganet.weights.shipped import shipped_models

logger = logging.getLogger(__name__)
RUN_FILES = ("best.safetensors", "last.safetensors")
FUNCTION = ("gate", "channel_aggregation", "stem_stride")
AS_DESCRIBED = "function and names as the file describes them"
HEAD, STEM = ("head.weight", "head.bias"), "patch_embed1.projection.0.weight"


@dataclass(frozen=True)
class ModelContents:
    """A trained model's tensors under the reference's names, and what they are.

    chosen: format, weights, gate, channel aggregation and the reason, as `info` shows them.
    """

    path: Path
    state: dict[str, Tensor]
    description: ModelDescription
    chosen: dict[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Say in one line what was taken from which file, and why."""
        return f"{self.path.name}: {self.chosen['format']}, {self.chosen['reason']}"


def read_model(what: str | Path, choices: Choices = Choices()) -> ModelContents:  # noqa: B008 (frozen)
    """Read any MODEL with trained weights: a file of any format, a run's or hub folder, or a released model's name.

    Says on the log which weights and function were chosen. Raises WeightsError for what can't be read.
    """
    path, preset, cfg = find_model(what)
    asked = Choices(**{n: v if v is not None else preset.get(n) for n, v in vars(choices).items()})
    read = _read(path, asked, cfg or {})
    contents = _adapt(read, asked)
    if read.chosen["reason"] != AS_DESCRIBED or contents.chosen != read.chosen:
        logger.info("%s", contents.reason)
    return contents


def find_model(what: str | Path) -> tuple[Path, dict[str, Any], dict[str, Any] | None]:
    """Give the file or hub folder of a MODEL, and for a downloaded one its function and timm's configuration.

    Raises WeightsError for what does not exist.
    """
    path = Path(what)
    if path.is_dir():
        return (path if is_hub_folder(path) else _weights_of_run(path)), {}, None
    if path.is_file():
        beside = path.parent
        return (beside if path.name == "model.safetensors" and is_hub_folder(beside) else path), {}, None
    base, _, tag = str(what).partition(".")
    name, shipped = f"{full_name(base)}.{tag}", shipped_models()
    if name in shipped:
        return shipped[name], {}, None
    if name in RELEASES:
        preset = {"gate": RELEASES[name].gate, "weights": RELEASES[name].weights}
        return fetch(name), preset, timm.get_pretrained_cfg(name).to_dict()
    if tag and full_name(base) in VARIANTS:
        known = ", ".join([*shipped, *RELEASES])
        raise WeightsError(f"there is no trained model {str(what)!r}; trained models: {known}")
    raise WeightsError(
        f"there is no model {str(what)!r}: give a file, a run's or hub folder, or one of {', '.join(VARIANTS)}"
    )


def _weights_of_run(folder: Path) -> Path:
    for name in RUN_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"{folder} is no finished run: it has neither {' nor '.join(RUN_FILES)}, and no config.json of a hub folder"
    )


def _read(path: Path, choices: Choices, cfg: dict[str, Any]) -> ModelContents:
    if path.is_dir():
        inner = read_content(path / "model.safetensors")
        if METADATA_KEY in inner.metadata:
            return _described(inner, dict(inner.values), inner.metadata[METADATA_KEY], "hub folder", choices)
        return _from_checkpoint(path, read_checkpoint(path, choices), cfg)
    content = read_content(path)
    if METADATA_KEY in content.metadata:
        return _described(content, dict(content.values), content.metadata[METADATA_KEY], "model file", choices)
    run = as_run_checkpoint(content)
    if run is not None:
        return _described(content, *run, "run's checkpoint", choices)
    checkpoint = as_checkpoint(content, choices)
    if checkpoint.description is not None:
        return _described(content, dict(checkpoint.state), checkpoint.description, checkpoint.format, choices)
    return _from_checkpoint(path, checkpoint, cfg)


def _described(content: Content, state: dict[str, Tensor], text: str, kind: str, choices: Choices) -> ModelContents:
    """Give contents that bring our description; their tensors are of one kind only."""
    path = content.path
    description = parse_description(text, path)
    state = checked_state(state, path)
    if kind in ("model file", "hub folder"):
        check_hash(state, description, path)
    if choices.weights == "ema":
        raise WeightsError(f"{path} does not hold two kinds of weights; leave --weights away")
    architecture = description.architecture
    chosen = {"format": kind, "weights": "plain", "reason": AS_DESCRIBED}
    chosen |= {name: getattr(architecture, name) for name in FUNCTION}
    _check_size(architecture, state, path)
    return ModelContents(path, state, description, chosen)


def _check_size(architecture: Architecture, state: dict[str, Tensor], path: Path) -> None:
    """Refuse a description of more blocks than the file has tensors, which would take long to build."""
    if architecture.depths is not None and sum(architecture.depths) > len(state):
        raise WeightsError(f"{path} describes {sum(architecture.depths):,} blocks, but holds {len(state)} tensors")


def _from_checkpoint(path: Path, checkpoint: Checkpoint, cfg: dict[str, Any]) -> ModelContents:
    try:
        architecture = architecture_of(checkpoint)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except ValidationError as error:
        raise WeightsError(f"{path} holds a network that can't be: {' '.join(str(error).split())[:200]}") from None
    if checkpoint.architecture is not None:
        own = checkpoint.architecture.model_dump(exclude_none=True)
        architecture = architecture.model_copy(update={**own, **{n: getattr(checkpoint, n) for n in FUNCTION[:2]}})
        _check_size(architecture, dict(checkpoint.state), path)
    chosen = {
        "format": checkpoint.format,
        "weights": checkpoint.weights,
        **{name: getattr(architecture, name) for name in FUNCTION},
        "reason": checkpoint.reason,
    }
    description = describe(architecture, {"file": path.name, **chosen}, cfg)
    if checkpoint.preprocessing is not None and checkpoint.preprocessing.channels == architecture.in_chans:
        description = description.model_copy(update={"preprocessing": checkpoint.preprocessing})
    if checkpoint.class_names is not None and len(checkpoint.class_names) == architecture.num_classes:
        description = description.model_copy(update={"class_names": checkpoint.class_names})
    return ModelContents(path, dict(checkpoint.state), description, chosen)


def describe(
    architecture: Architecture, provenance: dict[str, Any], cfg: dict[str, Any] | None = None
) -> ModelDescription:
    """Describe a network that brings no description of its own: timm's configuration, ImageNet's names for 1000."""
    cfg = cfg or timm.get_pretrained_cfg(architecture.name).to_dict()
    channels = architecture.in_chans or 3
    classes = architecture.num_classes or 0
    preprocessing = Preprocessing(
        size=cfg["input_size"][1:],
        crop_fraction=cfg["crop_pct"],
        interpolation=cfg["interpolation"],
        channels=channels,
        mean=cfg["mean"] if channels == 3 else (0.5,) * channels,
        std=cfg["std"] if channels == 3 else (0.5,) * channels,
    )
    return ModelDescription(
        architecture=architecture,
        preprocessing=preprocessing,
        class_names=default_names(classes),
        provenance=provenance,
    )


def default_names(classes: int) -> tuple[str, ...]:
    """Name classes that no file names: ImageNet's for 1000, else by number."""
    if classes == 1000:
        return tuple(ImageNetInfo().label_descriptions())
    return tuple(f"class_{i}" for i in range(classes))


def _adapt(contents: ModelContents, choices: Choices) -> ModelContents:
    """Let the caller's function, classes and channels replace the file's; what changes is said and recorded."""
    state = {name: t.float() if t.is_floating_point() else t for name, t in contents.state.items()}
    description = contents.description
    architecture = description.architecture
    changed = {
        name: getattr(choices, name)
        for name in (*FUNCTION, "num_classes", "in_chans")
        if getattr(choices, name) not in (None, getattr(architecture, name))
    }
    changes: dict[str, Any] = {}
    notes = [f"{name} {changed[name]} (as asked)" for name in FUNCTION if name in changed]
    if "num_classes" in changed:
        notes.append(new_head(state, changed["num_classes"], contents.path))
        changes["class_names"] = default_names(changed["num_classes"])
    if "in_chans" in changed:
        notes.append(adapt_stem(state, changed["in_chans"], contents.path))
        channels = changed["in_chans"]
        plain = Preprocessing() if channels == 3 else None
        changes["preprocessing"] = description.preprocessing.model_copy(
            update={
                "channels": channels,
                "mean": plain.mean if plain else (0.5,) * channels,
                "std": plain.std if plain else (0.5,) * channels,
            }
        )
    if not changed:
        return replace(contents, state=state)
    chosen = {**contents.chosen, **{name: changed[name] for name in FUNCTION if name in changed}}
    chosen["reason"] = "; ".join([contents.chosen["reason"], *notes])
    changes["architecture"] = architecture.model_copy(update=changed)
    # These were found with another function.
    changes |= {"fixtures": (), "temperature": None, "reject": None}
    changes["provenance"] = {**description.provenance, "changed": changed, "reason": chosen["reason"]}
    return ModelContents(contents.path, state, description.model_copy(update=changes), chosen)


def new_head(state: dict[str, Tensor], num_classes: int, path: Path) -> str:
    """Replace the head's tensors by fresh ones, the same each time, and say so."""
    had = state["head.weight"].shape[0] if "head.weight" in state else 0
    for name in HEAD:
        state.pop(name, None)
    if num_classes == 0:
        return f"without its head of {had} classes"
    width = state["norm4.weight"].shape[0] if "norm4.weight" in state else 0
    if width < 1:
        raise WeightsError(f"{path}: missing: norm4.weight; a new head can't be made")
    weight = torch.empty(num_classes, width)
    nn.init.trunc_normal_(weight, std=0.02, generator=torch.Generator().manual_seed(0))
    state.update({"head.weight": weight, "head.bias": torch.zeros(num_classes)})
    return f"the head starts anew: {num_classes} classes instead of {had}"


def adapt_stem(state: dict[str, Tensor], in_chans: int, path: Path) -> str:
    """Adapt the first convolution to other input channels as timm does, and say so."""
    had = state[STEM].shape[1]
    try:
        state[STEM] = adapt_input_conv(in_chans, state[STEM])
    except (NotImplementedError, RuntimeError, ValueError, AssertionError):
        raise WeightsError(f"{path}: a stem for {had} channels can't be adapted to {in_chans}") from None
    if state[STEM].shape[1] != in_chans:
        raise WeightsError(f"{path}: a stem for {had} channels can't be adapted to {in_chans}")
    return f"the stem is adapted from {had} to {in_chans} channels, as timm does"
