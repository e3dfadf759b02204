"""From what was read to a network: built as described, and filled."""

from pathlib import Path

import torch
from torch import nn

from moganet.config import Architecture
from moganet.errors import ConfigError, WeightsError
from moganet.models.formats import Choices, check_fit
from moganet.models.read import HEAD, ModelContents, adapt_stem, read_contents
from moganet.network import build_network
from moganet.network.moganet import MogaNet
from moganet.notices import say


def build_from(contents: ModelContents, share: bool = False) -> nn.Module:
    """Build the network of what was read, and fill it.

    share: use the tensors as they are, which may lie in the file, instead of copies.
    Raises WeightsError for a description of a network that can't be, or tensors that don't fit it.
    """
    path, architecture = contents.path, contents.description.architecture
    try:
        with torch.device("meta"):  # no memory, and no drawing of weights that are replaced at once
            network = build_network_for(architecture)
    except ConfigError as error:
        raise WeightsError(f"{path} describes a network that can't be: {error}") from None
    own, state = network.state_dict(), dict(contents.state)
    for name in own:  # the PaddlePaddle port counts no batches
        if name.endswith("num_batches_tracked") and name not in state:
            state[name] = torch.zeros((), dtype=torch.long)
    check_fit(state, own, path)
    if not share:
        network = network.to_empty(device="cpu")
    network.load_state_dict(state, assign=share)
    return network


def load_into(network: nn.Module, path: Path, weights: str | None = None) -> None:
    """Read a released file into a network of timm's making, as `MogaNet.load_pretrained` says."""
    assert isinstance(network, MogaNet)
    contents = read_contents(path, Choices(weights=weights), (), {})  # type: ignore[arg-type]
    state, own, architecture = dict(contents.state), network.state_dict(), contents.description.architecture
    notes = [contents.chosen["reason"]]
    if architecture.gate != network.gate or architecture.channel_aggregation != network.channel_aggregation:
        notes.append(
            f"the network computes a {network.gate} gate and the {network.channel_aggregation} channel aggregation"
        )
    if state["patch_embed1.projection.0.weight"].shape[1] != network.in_chans:
        notes.append(adapt_stem(state, network.in_chans, path))
    if any(name in own and (name not in state or state[name].shape != own[name].shape) for name in HEAD):
        had = state["head.weight"].shape[0] if "head.weight" in state else 0
        notes.append(f"the head starts anew: {network.num_classes} classes instead of {had}")
        state |= {name: own[name] for name in HEAD}
    for name in HEAD:
        if name not in own:
            state.pop(name, None)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))
    check_fit(state, own, path)
    network.load_state_dict(state)
    say(f"{path.name}: {contents.chosen['format']}, {'; '.join(notes)}")


def build_network_for(architecture: Architecture) -> nn.Module:
    """Build a network as described. Raises ConfigError for what does not exist."""
    try:
        return build_network(architecture.name, **architecture.options())
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ConfigError(f"can't build {architecture.name}: {reason}") from None
