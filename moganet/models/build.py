"""From a description to a network, and from a stored model to one that is filled."""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moganet.config import Architecture
from moganet.errors import ConfigError, MogaNetError, WeightsError, did_you_mean, first_line
from moganet.models.description import ModelDescription
from moganet.models.make_fixtures import with_fixtures
from moganet.models.reading.checkpoint import COUNTER
from moganet.models.stored import StoredModel
from moganet.models.timms import TIMM, is_timms
from moganet.network import build_network
from moganet.network.dense.build import build_on_maps
from moganet.network.dense.pyramid import LEVELS

NAME = re.compile(r"[\w.-]+")  # of a network in timm itself: no place on the hub or on this machine
OPTIONS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate"}  # of every network of timm's, or nearly so


def build_network_for(architecture: Architecture) -> nn.Module:
    """Build a network as described, with the head that stands on it. Raises ConfigError for what does not exist."""
    try:
        if architecture.head is not None:
            backbone = build_backbone(architecture.backbone)
            return build_on_maps(backbone, architecture.head, architecture.num_classes or 0)
        if is_timms(architecture.name):
            return create(architecture)
        return build_network(architecture.name, **architecture.options())
    except MogaNetError:
        raise
    except Exception as error:  # torch's, and those of timm's many networks
        raise ConfigError(f"can't build {architecture.name}: {first_line(error)}") from None


def build_backbone(architecture: Architecture, **weights: Any) -> nn.Module:
    """Build a network that gives four maps. weights: timm's arguments for those of a network of timm's."""
    if not is_timms(architecture.name):
        return build_network(architecture.name, **architecture.options())
    return create(architecture.changed(num_classes=None), features_only=True, out_indices=LEVELS, **weights)


def create(architecture: Architecture, **arguments: Any) -> nn.Module:
    """Build a network of timm's, with more of its own arguments. Raises ConfigError, and whatever timm raises."""
    name, blank = architecture.name.removeprefix(TIMM), Architecture().model_dump()
    only_ours = [key for key, value in architecture.model_dump().items() if value != blank[key] and key != "name"]
    if only_ours := [key for key in only_ours if key not in OPTIONS]:
        raise ConfigError(f"{architecture.name} is no MogaNet and has no {', '.join(only_ours)}; leave that out")
    if not NAME.fullmatch(name):
        raise ConfigError(f"{architecture.name[:100]!r} names no network of timm's; timm.list_models() lists them")
    given = {key: value for key, value in architecture.options().items() if key in OPTIONS and value != blank[key]}
    timm = importlib.import_module("timm")
    if not timm.is_model(name.partition(".")[0]):
        like = did_you_mean(name.partition(".")[0], timm.list_models())
        raise ConfigError(f"timm has no network {name[:100]!r}; {like}timm.list_models() lists them")
    network: nn.Module = timm.create_model(name, **given, **arguments)
    return network


def build_blank(architecture: Architecture) -> nn.Module:
    """Build a network on the device "meta": shapes without memory, and no weights drawn."""
    try:
        with torch.device("meta"):
            return build_network_for(architecture)
    except ConfigError:
        if not is_timms(architecture.name):
            raise
    return build_seeded(architecture).to("meta")  # some of timm's networks compute with values as they are built


def blank_of(architecture: Architecture, path: Path) -> nn.Module:
    """Build a network on "meta" as a file describes it. Raises WeightsError for one that can't be."""
    try:
        return build_blank(architecture)
    except ConfigError as error:
        raise WeightsError(f"{path} describes a network that can't be: {error}") from None


def build_seeded(architecture: Architecture) -> nn.Module:
    """Build a network with the weights of seed 0, and leave the caller's random numbers as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network_for(architecture)


def build_from(stored: StoredModel, share: bool = False) -> nn.Module:
    """Build the network of a stored model, and fill it.

    share: use the tensors as they are, which may lie in the file, instead of copies.
    Raises WeightsError for a description of a network that can't be, or tensors that don't fit it.
    """
    architecture = stored.description.architecture
    if not stored.trained:
        return build_seeded(architecture)
    network = blank_of(architecture, stored.path)  # no memory is taken before the tensors are known to fit
    own = network.state_dict()
    state = with_counters(stored.state, own)
    check_fit(state, own, stored.path)
    if is_timms(architecture.name):
        network = build_seeded(architecture)  # with buffers that no file holds
        network.load_state_dict(state, assign=share)
        return network
    if not share:  # `to_empty` would do too, but import seconds of torch's code
        state = {name: tensor.to("cpu", own[name].dtype, copy=True) for name, tensor in state.items()}
    network.load_state_dict(state, assign=True)
    return network


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError that names the first tensors that are missing, unexpected, or of another shape."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = sorted(n for n in own.keys() & state.keys() if state[n].shape != own[n].shape)
    if missing or unexpected or other:
        parts = [f"missing: {', '.join(missing[:3])}"] if missing else []
        parts += [f"unexpected: {', '.join(name[:80] for name in unexpected[:3])}"] if unexpected else []
        parts += [f"{n} is {tuple(state[n].shape)}, not {tuple(own[n].shape)}" for n in other[:3]]
        raise WeightsError(f"the tensors of {path} do not fit the network; {'; '.join(parts)}")


def with_counters(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state dict with the counters of batches that it lacks: the PaddlePaddle port counts none."""
    counters = {name for name in own if name.endswith(COUNTER) and name not in state}
    return {**state, **{name: torch.zeros((), dtype=torch.long) for name in counters}}


def complete(stored: StoredModel) -> tuple[dict[str, Tensor], ModelDescription]:
    """Give all tensors of the network, and a description with fixtures. The tensors may lie in the file."""
    network = build_from(stored, share=True).eval()
    description = with_fixtures(network, stored.description)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}, description
