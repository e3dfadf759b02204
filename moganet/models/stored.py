"""A trained model as it is stored: tensors, what they are, where they come from, and what was chosen why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from moganet.config import Architecture
from moganet.data.ade20k import ade20k
from moganet.data.coco80 import coco80
from moganet.errors import WeightsError
from moganet.models.choices import FUNCTION, Choices
from moganet.models.chosen import Chosen, function_of
from moganet.models.description import ModelDescription, check_names
from moganet.models.reading.checkpoint import RELEASED_CLASSES, Checkpoint, architecture_of
from moganet.models.timms import describe, ends_of
from moganet.network import VARIANTS
from moganet.notices import say

OF_CLASSIFIERS = "a hub folder's config.json (input_size, mean, std, label_names)"
OF_HEADS = "what mmsegmentation, mmdetection and mmpose write into meta (CLASSES, PALETTE, config)"
AS_DESCRIBED = "function and names as the file describes them"


@dataclass(frozen=True)
class StoredModel:
    """A model's tensors, a MogaNet's by the reference's names, and what they are; without `trained`, of seed 0."""

    path: Path
    state: dict[str, Tensor]
    description: ModelDescription
    chosen: Chosen
    trained: bool = True

    def say_what_was_chosen(self) -> None:
        """Say in one line what was taken from which file, and why; and in another what are guesses."""
        if self.chosen.reason != AS_DESCRIBED:
            say(f"{self.path.name}: {self.chosen.format}, {self.chosen.reason}")
        if self.chosen.guessed:
            say(self._taken())

    def _taken(self) -> str:
        guessed, names = self.chosen.guessed, self.description.class_names
        height, width = self.description.preprocessing.size
        shown = f"{names[0]} … {names[-1]}" if names else "none"
        known = {ade20k()[0]: "ADE20K's", coco80()[0]: "COCO's"}
        whose = "ImageNet's" if len(names) == RELEASED_CLASSES else known.get(names)
        values = {
            **self.chosen,
            "preprocessing": f"{height}x{width} pixels, mean and deviation of ImageNet",
            "class_names": f"{shown} ({whose})" if whose else shown,
        }
        taken = [f"{name.replace('_', ' ')} {values[name]}" for name in guessed]
        remedies = [f"--{name.replace('_', '-')}" for name in guessed if name in vars(Choices())]
        if {"preprocessing", "class_names"} & {*guessed}:
            remedies.append(OF_CLASSIFIERS if self.description.architecture.head is None else OF_HEADS)
        unread = self.chosen.unread
        does_not = f"may say it under {', '.join(unread)}, which is not read" if unread else "does not say"
        otherwise = f"choose otherwise by {', '.join(remedies)}"
        return f"{self.path.name} {does_not}, so these are guesses: {'; '.join(taken)}; {otherwise}"


def stored_of(path: Path, checkpoint: Checkpoint, choices: Choices, cfg: Mapping[str, Any]) -> StoredModel:
    """Give what was read of a file or hub folder as a stored model. cfg: timm's configuration of a release."""
    if checkpoint.description is not None:
        return _described(path, checkpoint, checkpoint.description, choices)
    architecture = _architecture(path, checkpoint)
    checkpoint = _with_its_channels(path, checkpoint, architecture)
    chosen = Chosen(
        format=checkpoint.format,
        weights=checkpoint.weights,
        **function_of(architecture),
        reason=checkpoint.reason,
        guessed=_guessed(checkpoint, architecture, choices, is_release=bool(cfg)),
        **({"unread": checkpoint.unread} if checkpoint.unread else {}),
    )
    provenance = {"file": path.name, **chosen.model_dump(mode="json", exclude_unset=True)}
    description = describe(architecture, provenance, cfg)
    said = {name: getattr(checkpoint, name) for name in ("preprocessing", "class_names", "task")}
    description = description.changed(**{name: value for name, value in said.items() if value is not None})
    check_names(description, architecture.num_classes or 0, path)
    return StoredModel(path, dict(checkpoint.state), description, chosen)


def _described(path: Path, checkpoint: Checkpoint, description: ModelDescription, choices: Choices) -> StoredModel:
    architecture, state = description.architecture, dict(checkpoint.state)
    check_names(description, ends_of(architecture).outputs(state), path)
    if choices.weights == "ema" and choices.why("weights") == Choices().why("weights"):
        raise WeightsError(f"{path} does not hold two kinds of weights; leave --weights away")
    _check_size(architecture, state, path)
    function = function_of(architecture)
    chosen = Chosen(format=checkpoint.format, weights="plain", **function, reason=AS_DESCRIBED, guessed=())
    return StoredModel(path, state, description, chosen)


def _check_size(architecture: Architecture, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a description of more blocks than the file has tensors, which would take long to build."""
    if architecture.depths is not None and sum(architecture.depths) > len(state):
        raise WeightsError(f"{path} describes {sum(architecture.depths):,} blocks, but holds {len(state)} tensors")


def _architecture(path: Path, checkpoint: Checkpoint) -> Architecture:
    try:
        found = architecture_of(checkpoint)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except ValidationError as error:
        raise WeightsError(f"{path} holds a network that can't be: {' '.join(str(error).split())[:200]}") from None
    if checkpoint.architecture is None:
        return found
    _compare_variant(path, checkpoint.architecture, found)
    own = checkpoint.architecture.model_dump(exclude_none=True)
    own |= {name: getattr(checkpoint, name) for name in FUNCTION[:2]}
    architecture = Architecture.model_validate({**found.model_dump(), **own})
    _check_size(architecture, checkpoint.state, path)
    return architecture


def _compare_variant(path: Path, stated: Architecture, found: Architecture) -> None:
    variant = VARIANTS[stated.name]
    differing = [key for key in variant if getattr(stated, key) is None and getattr(found, key) != variant[key]]
    if differing:
        but = f"but its tensors have other {', '.join(differing)}: what they have is taken"
        say(f"{path.name} says that it is a {stated.name}, {but}", doubtful=True)


def _with_its_channels(path: Path, checkpoint: Checkpoint, architecture: Architecture) -> Checkpoint:
    """Pass a preprocessing over that is of other channels than the network's."""
    preprocessing = checkpoint.preprocessing
    if preprocessing is None or preprocessing.channels == architecture.in_chans:
        return checkpoint
    but = f"but its first convolution takes {architecture.in_chans}: its preprocessing is passed over"
    say(f"{path.name} says that its images have {preprocessing.channels} channels, {but}", doubtful=True)
    return replace(checkpoint, preprocessing=None)


def _guessed(
    checkpoint: Checkpoint, architecture: Architecture, choices: Choices, *, is_release: bool
) -> tuple[str, ...]:
    """Name what neither the file nor the name of a release says."""
    guessed = sorted(checkpoint.guessed, key=lambda name: FUNCTION.index(name) if name in FUNCTION else -1)
    if is_release:
        return tuple(name for name in guessed if name != "preprocessing")
    unsaid = {
        "stem_stride": checkpoint.architecture is None and choices.stem_stride is None,
        "preprocessing": checkpoint.preprocessing is None,
        "class_names": checkpoint.class_names is None and architecture.num_classes,
    }
    return (*guessed, *(name for name, is_unsaid in unsaid.items() if is_unsaid))
