"""From a file, a run's folder, a hub folder or a name to tensors and their description, without building a network."""

from collections.abc import Iterable, Sequence
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
from moganet.models.download import fetch
from moganet.models.formats import (
    Checkpoint,
    Choices,
    Content,
    architecture_of,
    as_checkpoint,
    as_run_checkpoint,
    check_values,
    checked_state,
    description_in,
    is_hub_folder,
    read_checkpoint,
    read_content,
)
from moganet.models.formats.hub import CONFIG, TENSORS, config_of, read_config, tensors_file
from moganet.models.model_file import ModelDescription, check_hash, check_names, parse_description
from moganet.models.reading.checkpoint import RELEASED_CLASSES
from moganet.models.shipped import shipped_models
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES
from moganet.notices import say
from moganet.tasks import TASKS
from moganet.tasks.recipes import DEFAULT

RUN_FILES = ("best.safetensors", "last.safetensors")
FUNCTION = ("gate", "channel_aggregation", "stem_stride")
RUN_CHECKPOINT = "run's checkpoint"
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
    preset = {name: value for name, value in preset.items() if getattr(choices, name) is None}
    asked = Choices(**{**vars(choices), **preset})
    contents = _adapt(read_contents(path, asked, preset.keys(), cfg or {}), asked)
    if contents.chosen["reason"] != AS_DESCRIBED:
        say(contents.reason)
    if guessed := contents.chosen["guessed"]:
        say(_taken(contents, guessed))
    return contents


def _taken(contents: ModelContents, guessed: Sequence[str]) -> str:
    """Say what a file does not say, what it was taken for, and how to choose otherwise."""
    description, architecture = contents.description, contents.description.architecture
    height, width = description.preprocessing.size
    names = description.class_names
    shown = f"{names[0]} … {names[-1]}" if names else "none"
    values = {
        "weights": contents.chosen["weights"],
        "preprocessing": f"{height}x{width} pixels, mean and deviation of ImageNet",
        "class_names": f"{shown} (ImageNet's)" if len(names) == RELEASED_CLASSES else shown,
    }
    taken = [f"{n.replace('_', ' ')} {values.get(n) or getattr(architecture, n)}" for n in guessed]
    remedies = [f"--{name.replace('_', '-')}" for name in guessed if name in vars(Choices())]
    if {"preprocessing", "class_names"} & {*guessed}:
        remedies.append("a hub folder's config.json (input_size, mean, std, label_names)")
    unread = contents.chosen.get("unread")
    does_not = f"may say it under {', '.join(unread)}, which is not read" if unread else "does not say"
    return (
        f"{contents.path.name} {does_not}, so these are guesses: {'; '.join(taken)}; choose otherwise by "
        f"{', '.join(remedies)}"
    )


def find_model(what: str | Path) -> tuple[Path, dict[str, Any], dict[str, Any] | None]:
    """Give the file or hub folder of a MODEL, and for a downloaded one its function and timm's configuration.

    Raises WeightsError for what does not exist.
    """
    path = Path(what)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise WeightsError(
            f"can't look at {str(what)[:200]}: {error.strerror}; give a file, a folder or a name"
        ) from None
    if is_folder:
        return (path if is_hub_folder(path) else _weights_of_run(path)), {}, None
    if is_file:
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


def read_contents(path: Path, choices: Choices, preset: Iterable[str], cfg: dict[str, Any]) -> ModelContents:
    """Read a file or hub folder as it is. preset: what was chosen by a release's name. cfg: timm's configuration."""
    if path.is_dir():
        inner = tensors_file(path)
        if inner is not None and inner.name == TENSORS:
            content = read_content(inner)
            text = description_in(content.metadata, inner)
            if text is not None:
                contents = _described(content, dict(content.values), text, "hub folder", choices)
                _compare_config(path, contents.description)
                return contents
        return _from_checkpoint(path, read_checkpoint(path, choices), choices, cfg)
    content = read_content(path)
    text = description_in(content.metadata, path)
    if text is not None:
        return _described(content, dict(content.values), text, "model file", choices)
    run = as_run_checkpoint(content)
    if run is not None:
        return _described(content, *run, RUN_CHECKPOINT, choices)
    checkpoint = as_checkpoint(content, choices)
    if checkpoint.description is not None:
        return _described(content, dict(checkpoint.state), checkpoint.description, checkpoint.format, choices)
    return _from_checkpoint(path, checkpoint.because(preset, "as it was released"), choices, cfg)


def _compare_config(folder: Path, description: ModelDescription) -> None:
    """Say where a hub folder's configuration differs from the description beside its tensors, which is taken."""
    ours = config_of(description.architecture, description.preprocessing, description.class_names)
    theirs = read_config(folder)
    differing = [key for key, value in ours.items() if theirs.get(key) != value]
    if differing:
        say(
            f"{folder / CONFIG} differs from what {TENSORS} says of itself in {', '.join(differing)}; the latter is "
            "taken (convert the model to make both anew)",
            doubtful=True,
        )


def _described(content: Content, state: dict[str, Tensor], text: str, kind: str, choices: Choices) -> ModelContents:
    """Give contents that bring our description; their tensors are of one kind only."""
    path = content.path
    description = parse_description(text, path)
    state = checked_state(state, path)
    # The port's files have a hash of their own (they lack tensors), a run's the sums of its archive.
    if kind in ("model file", "hub folder") or (kind == "official" and description.sha256):
        check_hash(state, description, path)
    check_values(state, path)
    head = state.get(HEAD[0])
    check_names(description, len(head) if head is not None and head.dim() else 0, path)
    if choices.weights == "ema":
        raise WeightsError(f"{path} does not hold two kinds of weights; leave --weights away")
    architecture = description.architecture
    chosen: dict[str, Any] = {"format": kind, "weights": "plain", "reason": AS_DESCRIBED, "guessed": []}
    chosen |= {name: getattr(architecture, name) for name in FUNCTION}
    _check_size(architecture, state, path)
    return ModelContents(path, state, description, chosen)


def _check_size(architecture: Architecture, state: dict[str, Tensor], path: Path) -> None:
    """Refuse a description of more blocks than the file has tensors, which would take long to build."""
    if architecture.depths is not None and sum(architecture.depths) > len(state):
        raise WeightsError(f"{path} describes {sum(architecture.depths):,} blocks, but holds {len(state)} tensors")


def _from_checkpoint(path: Path, checkpoint: Checkpoint, choices: Choices, cfg: dict[str, Any]) -> ModelContents:
    try:
        architecture = architecture_of(checkpoint)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except ValidationError as error:
        raise WeightsError(f"{path} holds a network that can't be: {' '.join(str(error).split())[:200]}") from None
    if checkpoint.architecture is not None:
        _compare_variant(path, checkpoint.architecture, architecture)
        own = checkpoint.architecture.model_dump(exclude_none=True)
        own |= {name: getattr(checkpoint, name) for name in FUNCTION[:2]}
        architecture = Architecture.model_validate({**architecture.model_dump(), **own})
        _check_size(architecture, dict(checkpoint.state), path)
    chosen = {
        "format": checkpoint.format,
        "weights": checkpoint.weights,
        **{name: getattr(architecture, name) for name in FUNCTION},
        "reason": checkpoint.reason,
    }
    guessed = [name for name in checkpoint.guessed if name not in FUNCTION]
    guessed += [name for name in FUNCTION if name in checkpoint.guessed]
    if checkpoint.architecture is None and choices.stem_stride is None and not cfg:
        guessed.append("stem_stride")
    preprocessing, names = checkpoint.preprocessing, checkpoint.class_names
    if preprocessing is not None and preprocessing.channels != architecture.in_chans:
        say(
            f"{path.name} says that its images have {preprocessing.channels} channels, but its first convolution takes "
            f"{architecture.in_chans}: its preprocessing is passed over",
            doubtful=True,
        )
        preprocessing = None
    if preprocessing is None and not cfg:
        guessed.append("preprocessing")
    if names is None and not cfg and architecture.num_classes:
        guessed.append("class_names")
    chosen["guessed"] = guessed
    chosen |= {"unread": list(checkpoint.unread)} if checkpoint.unread else {}
    description = describe(architecture, {"file": path.name, **chosen}, cfg)
    if preprocessing is not None:
        description = description.changed(preprocessing=preprocessing)
    if names is not None:
        description = description.changed(class_names=names)
    check_names(description, architecture.num_classes or 0, path)
    return ModelContents(path, dict(checkpoint.state), description, chosen)


def _compare_variant(path: Path, stated: Architecture, found: Architecture) -> None:
    """Say where a configuration names a variant whose shape the tensors do not have."""
    variant = VARIANTS[stated.name]
    differing = [key for key in variant if getattr(stated, key) is None and getattr(found, key) != variant[key]]
    if differing:
        say(
            f"{path.name} says that it is a {stated.name}, but its tensors have other {', '.join(differing)}: what "
            "they have is taken",
            doubtful=True,
        )


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
        task=TASKS[DEFAULT].description(name=DEFAULT, class_names=default_names(classes)),
        provenance=provenance,
    )


def default_names(classes: int) -> tuple[str, ...]:
    """Name classes that no file names: ImageNet's for 1000, else by number."""
    if classes == 1000:
        info = ImageNetInfo()
        names = info.label_descriptions()
        # Two of them are a "crane", the bird and the machine: WordNet's number tells them apart.
        numbered = ((name, info.index_to_label_name(i)) for i, name in enumerate(names))
        return tuple(f"{name} ({number})" if names.count(name) > 1 else name for name, number in numbered)
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
        mean, std = (plain.mean, plain.std) if plain else ((0.5,) * channels, (0.5,) * channels)
        changes["preprocessing"] = description.preprocessing.changed(channels=channels, mean=mean, std=std)
    if not changed:
        return replace(contents, state=state)
    chosen = {**contents.chosen, **{name: changed[name] for name in FUNCTION if name in changed}}
    chosen["reason"] = "; ".join([contents.chosen["reason"], *notes])
    # What starts anew needs no guess; new class names are said with the new head.
    anew = {"num_classes": "class_names", "in_chans": "preprocessing"}
    chosen["guessed"] = [n for n in chosen["guessed"] if n not in changed and n not in map(anew.get, changed)]
    changes["architecture"] = architecture.changed(**changed)
    # These were found with another function.
    changes |= {"fixtures": (), "temperature": None, "reject": None}
    changes["provenance"] = {**description.provenance, "changed": changed, "reason": chosen["reason"]}
    return ModelContents(contents.path, state, description.changed(**changes), chosen)


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
