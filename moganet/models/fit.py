"""The one way to give a trained network another head, or a stem for other channels."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moganet.config import Architecture, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.models.build import blank_of, build_blank
from moganet.models.choices import FUNCTION, Choices
from moganet.models.reading.heads import BACKBONE, backbone_of, names_in_backbone
from moganet.models.stored import StoredModel
from moganet.models.timms import Ends, default_names, ends_of


def fit(state: dict[str, Tensor], own: Mapping[str, Tensor], ends: Ends, path: Path) -> list[str]:
    """Let a state dict's stem and head fit a network's tensors (`own`), in place, and say what was done."""
    stems = [name for stem in ends.stems if (name := f"{stem}.weight") in state and name in own]
    other = [name for name in stems if state[name].shape[1] != own[name].shape[1]]
    notes = [_adapt_stem(state, name, own[name].shape[1], path) for name in other]
    theirs, ours = ({name: t for name, t in tensors.items() if ends.is_head(name)} for tensors in (state, own))
    if {name: t.shape for name, t in theirs.items()} != {name: t.shape for name, t in ours.items()}:
        had, now = ends.outputs(theirs), ends.outputs(ours)
        for name in theirs:
            del state[name]
        state |= ours
        anew = f"the head starts anew: {now} classes instead of {had}"
        notes.append(anew if ours else f"without its head of {had} classes")
    return notes


def _adapt_stem(state: dict[str, Tensor], name: str, in_chans: int, path: Path) -> str:
    had = state[name].shape[1]
    state[name] = state[name].float()  # sums of half types would lose what they must keep
    if had == 1:  # which timm can't: each channel has its part, so that a grey image gives what it gave
        state[name] = state[name].expand(-1, in_chans, *state[name].shape[2:]) / in_chans
        return f"the stem is spread from 1 to {in_chans} channels"
    try:
        state[name] = importlib.import_module("timm.models").adapt_input_conv(in_chans, state[name])
        adapted = state[name].shape[1] == in_chans
    except (NotImplementedError, RuntimeError, ValueError, AssertionError):
        adapted = False
    if not adapted:
        raise WeightsError(f"{path}: a stem for {had} channels can't be adapted to {in_chans}")
    return f"the stem is adapted from {had} to {in_chans} channels, as timm does"


def follow_names(
    state: Mapping[str, Tensor], ends: Ends, known: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, Tensor], bool]:
    """Let a head follow the classes' new order; for other classes leave it out, to start anew, and give False."""
    if known == wanted:
        return dict(state), True
    if set(known) == set(wanted) and len(set(wanted)) == len(known):
        order = [known.index(name) for name in wanted]
        return {name: ends.reordered(name, tensor, order) for name, tensor in state.items()}, True
    return {name: t for name, t in state.items() if not ends.is_head(name)}, False


def carried(state: Mapping[str, Tensor], source: Architecture, target: Architecture) -> dict[str, Tensor]:
    """Give a network's tensors under the names that they have in another, which may have another head, or none.

    Between a classifier and a network with a head, or two with different heads, it is the backbone that they share.
    """
    if type(source.head) is type(target.head):
        return dict(state)
    bare = state
    if source.head is not None:
        bare = backbone_of(state)
        if target.head is not None:
            return {f"{BACKBONE}{name}": tensor for name, tensor in bare.items()}
    own = build_blank(target).state_dict()
    renamed = {name: next((n for n in _elsewhere(name, target) if n in own), name) for name in bare}
    return {renamed[name]: tensor for name, tensor in bare.items() if renamed[name] in own}


def _elsewhere(name: str, target: Architecture) -> tuple[str, ...]:
    """Give the names that a tensor may have in a backbone, or in a classifier, where they are the other way round."""
    if target.head is not None:
        return names_in_backbone(name)
    return name, name.replace("_", ".", 1), name.removeprefix("model.")


def adapt(stored: StoredModel, choices: Choices) -> StoredModel:
    """Let the caller's function, classes and channels replace the file's; what changes is said and recorded."""
    state = {name: t.float() if t.is_floating_point() else t for name, t in stored.state.items()}
    description = stored.description
    given, architecture = choices.given(), description.architecture
    if architecture.head is not None and choices.num_classes == 0:
        but = "its head needs classes; load it as it is, and take `.model.backbone`"
        has = f"but {stored.path} is a network with the head {architecture.head.title}"
        raise ConfigError(f"num_classes is 0, {has}: {but}")
    keys = (*FUNCTION, "num_classes", "in_chans")
    changed = {key: given[key] for key in keys if key in given and given[key] != getattr(architecture, key)}
    if not changed:
        return replace(stored, state=state)
    notes = [f"{name} {changed[name]} ({choices.why(name)})" for name in FUNCTION if name in changed]
    architecture = architecture.changed(**changed)
    # These were found with another function.
    names = default_names(changed["num_classes"]) if "num_classes" in changed else description.class_names
    changes: dict[str, Any] = {"architecture": architecture, "fixtures": (), "task": description.task.anew(names)}
    if {"num_classes", "in_chans"} & changed.keys():
        ends = ends_of(architecture)
        notes += fit(state, _with_fresh_head(blank_of(architecture, stored.path), ends), ends, stored.path)
    if "in_chans" in changed:
        changes["preprocessing"] = _for_channels(description.preprocessing, changed["in_chans"])
    reason = "; ".join([stored.chosen.reason, *notes])
    # What starts anew needs no guess; new class names are said with the new head.
    anew = {"num_classes": "class_names", "in_chans": "preprocessing"}
    kept = [n for n in stored.chosen.guessed if n not in changed and n not in map(anew.get, changed)]
    changes["provenance"] = {**description.provenance, "changed": changed, "reason": reason}
    function = {name: value for name, value in changed.items() if name in FUNCTION}
    chosen = stored.chosen.changed(reason=reason, guessed=tuple(kept), **function)
    return replace(stored, state=state, description=description.changed(**changes), chosen=chosen)


def _with_fresh_head(blank: nn.Module, ends: Ends) -> dict[str, Tensor]:
    """Give a blank network's tensors with a head whose weights are drawn, the same each time."""
    own: dict[str, Tensor] = blank.state_dict()
    generator = torch.Generator().manual_seed(0)
    for name in filter(ends.is_head, own):
        own[name] = torch.zeros(own[name].shape)
        if name.endswith("weight"):
            nn.init.trunc_normal_(own[name], std=0.02, generator=generator)
    return own


def _for_channels(preprocessing: Preprocessing, channels: int) -> Preprocessing:
    plain, grey = Preprocessing(), (0.5,) * channels
    mean, std = (plain.mean, plain.std) if channels == plain.channels else (grey, grey)
    return preprocessing.changed(channels=channels, mean=mean, std=std)
