"""What files of mmsegmentation, mmdetection and mmpose have in common: whole networks, and what `meta` says of them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moganet.config import Architecture, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.files import atomic_path
from moganet.models.choices import Choices
from moganet.models.description import DESCRIPTION_KEY, ModelDescription, describe_as_json, description_in
from moganet.models.formats.openmixup import AGGREGATION, backbones, beside_of
from moganet.models.reading.checkpoint import Checkpoint, architecture_of, check_hash, checked_state, hash_tensors
from moganet.models.reading.contents import Content
from moganet.models.reading.heads import BACKBONE
from moganet.models.reading.mm_config import Testing, read_config
from moganet.models.reading.networks import Network, choose_network
from moganet.notices import say
from moganet.tasks.task import TaskDescription

META = "meta"
IsKind = Callable[[Mapping[str, object]], bool]  # tells by the names of tensors
REASONS = {"gate": "the reference's networks with such heads have it", **AGGREGATION}


class Said(NamedTuple):
    """What a file without our description says of its network. is_guess: whether it does not say the preprocessing."""

    architecture: Architecture
    class_names: tuple[str, ...] | None
    task: TaskDescription
    preprocessing: Preprocessing
    is_guess: bool


Tell = Callable[[Content, Architecture], Said]


def read_whole(kind: str, content: Content, choices: Choices, networks: list[Network], tell: Tell) -> Checkpoint:
    """Read the one of a file's networks that is asked for, with our description where the file has it.

    tell: gives what another file says, beside the architecture that its tensors have.
    """
    chosen = choose_network(content, choices, networks)
    state = checked_state(chosen.network.state, content.path)
    told = content.values if content.kind == "torch" else content.metadata
    if (description := description_in(told, content.path)) is not None:
        check_hash(state, description.sha256, content.path)
        return chosen.checkpoint(kind, state, REASONS, description=description)
    said = tell(content, architecture_of(Checkpoint("", state)))
    return chosen.checkpoint(
        kind,
        state,
        REASONS,
        architecture=said.architecture,
        class_names=said.class_names,
        task=said.task,
        preprocessing=said.preprocessing,
        guessed=("preprocessing",) * said.is_guess,
        read=(META,),
    )


def networks_with(content: Content, heads: tuple[str, ...], is_kind: IsKind) -> list[Network]:
    """Give the whole networks of a file, by the names that their tensors have behind any prefix.

    heads: how the names of what stands on a backbone begin. is_kind: tells by all of these names.
    """
    found = []
    for network in backbones(content):
        parts = {name: value for name, value in beside_of(network).items() if name.startswith(heads)}
        if is_kind(parts):
            outer = network.prefix.removesuffix(BACKBONE)
            taken = {outer + name for name in parts}
            rest = {name: value for name, value in network.beside.items() if name not in taken}
            state = {f"{BACKBONE}{name}": value for name, value in network.state.items()} | parts
            found.append(replace(network, prefix=outer, state=state, beside=rest))
    return found


def tested_as(meta: Mapping[str, Any], whose: str) -> Testing | None:
    """Give how a network was tested, where its configuration says so. whose: whose answers others would be."""
    with how_tested():
        tested = read_config(config_of(meta))
    if tested is not None and tested.strange is not None:
        say_strange(tested.strange, whose)
    return tested


def config_of(meta: Mapping[str, Any]) -> Any:
    """Give a configuration's text, by mmcv's key or mmengine's; None where there is none."""
    return meta.get("config") or meta.get("cfg")


@contextmanager
def how_tested() -> Iterator[None]:
    """Raise WeightsError for what a configuration says of testing where that can't be."""
    try:
        yield
    except ConfigError as error:
        raise WeightsError(f"its {META}'s config says how it was tested, but it can't be read: {error}") from None


def say_strange(what: str, whose: str) -> None:
    """Say what a configuration has that is computed otherwise here. whose: whose answers others will be."""
    but = f"which is not computed here: its answers will differ from {whose}"
    say(f"its configuration has {what}, {but}", doubtful=True)


def meta_of(content: Content) -> Mapping[str, Any]:
    """Give what a file says of itself: in `meta`, or in a safetensors file's metadata as JSON."""
    if content.kind == "torch":
        meta = content.values.get(META) if isinstance(content.values, dict) else None
        return meta if isinstance(meta, dict) else {}
    meta = dict[str, Any](content.metadata)
    for key in (META, "CLASSES", "PALETTE"):
        with suppress(ValueError, RecursionError, KeyError):
            meta[key] = json.loads(meta[key])
    inner = meta.get(META)
    return {**meta, **inner} if isinstance(inner, dict) else meta


def names_in(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Give the names of classes, by mmcv's key or mmengine's. Raises WeightsError for what is no list of names."""
    newer = meta.get("dataset_meta")
    every = (meta, newer) if isinstance(newer, dict) else (meta,)
    given = next((one[key] for one in every for key in ("CLASSES", "classes") if one.get(key) is not None), None)
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not given or not all(isinstance(name, str) for name in given):
        raise WeightsError(f"its {META} has CLASSES that are no list of names")
    return tuple(name.strip() for name in given)  # ADE20K's "bed " has a blank behind it


def write_mm(path: Path, state: Mapping[str, Tensor], description: ModelDescription, meta: Mapping[str, Any]) -> None:
    """Write what mmcv reads, with our description beside it."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    described = describe_as_json(description.changed(sha256=hash_tensors(state)))
    with atomic_path(path) as temporary:
        torch.save({META: dict(meta), "state_dict": tensors, DESCRIPTION_KEY: described}, temporary)
