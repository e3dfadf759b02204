"""What files of mmsegmentation, mmdetection and mmpose have in common: whole networks, and what `meta` says of them."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moganet.errors import ConfigError, WeightsError
from moganet.files import atomic_path
from moganet.models.description import DESCRIPTION_KEY, ModelDescription, describe_as_json
from moganet.models.formats.openmixup import AGGREGATION, backbones, beside_of
from moganet.models.reading.checkpoint import hash_tensors
from moganet.models.reading.contents import Content
from moganet.models.reading.heads import BACKBONE
from moganet.models.reading.mm_config import Testing, read_config
from moganet.models.reading.networks import Network
from moganet.notices import say

META = "meta"
IsKind = Callable[[Mapping[str, object]], bool]  # tells by the names of tensors
REASONS = {"gate": "the reference's networks with such heads have it", **AGGREGATION}


def networks_with(
    content: Content, heads: tuple[str, ...], is_kind: Callable[[Mapping[str, object]], bool]
) -> list[Network]:
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
    try:
        tested = read_config(meta.get("config", meta.get("cfg")))
    except ConfigError as error:
        raise WeightsError(f"its {META}'s config says how it was tested, but it can't be read: {error}") from None
    if tested is not None and tested.strange is not None:
        but = f"which is not computed here: its answers will differ from {whose}"
        say(f"its configuration has {tested.strange}, {but}", doubtful=True)
    return tested


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
