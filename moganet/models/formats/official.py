"""The reference repository's `.pth.tar` (`arch`, `state_dict`), and a state dict of its names, wherever it lies."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from moganet.files import atomic_path
from moganet.models.choices import Choices
from moganet.models.description import DESCRIPTION_KEY, ModelDescription, describe_as_json, description_in
from moganet.models.formats.format import Format, differences
from moganet.models.reading.checkpoint import (
    FUNCTION_GUESSES,
    REFERENCE,
    Checkpoint,
    check_hash,
    checked_state,
    hash_tensors,
    is_release,
)
from moganet.models.reading.contents import Content
from moganet.models.reading.networks import choose_network, find_networks

OFFICIAL = {"gate": "single", "channel_aggregation": "reference"}  # what its code computes
BARE = ("", "module.", "_orig_mod.")


def is_official(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    if content.kind != "torch":
        return False
    return any(n.keys == ("state_dict",) and n.prefix in BARE for n in find_networks(content.values))


def read_official(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content; without a choice, the weights are those whose accuracy was published."""
    chosen = choose_network(content, choices, find_networks(content.values))
    description = description_in(content.values, content.path)
    state = checked_state(chosen.network.state, content.path)
    if description is not None and description.sha256:
        check_hash(state, description.sha256, content.path)
    released = is_release(state) is not None
    why = dict.fromkeys(FUNCTION_GUESSES, "as in the reference" if released else REFERENCE)
    return chosen.checkpoint("official", state, why, guessed=FUNCTION_GUESSES * (not released), description=description)


def is_state_dict(content: Content) -> bool:
    """Tell whether a file has the reference's names anywhere."""
    return content.kind != "arrays" and bool(find_networks(content.values))


def read_state_dict(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content, with or without a head."""
    chosen = choose_network(content, choices, find_networks(content.values))
    why, state = dict.fromkeys(FUNCTION_GUESSES, REFERENCE), checked_state(chosen.network.state, content.path)
    return chosen.checkpoint("timm", state, why, guessed=FUNCTION_GUESSES)


def write_official(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write the reference's layout, in which its own code and timm read `state_dict`; another function is warned of."""
    warnings = differences(description.architecture, OFFICIAL, "the official code")
    described = describe_as_json(description.changed(sha256=hash_tensors(state)))
    tensors = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    content = {"arch": description.architecture.name, "state_dict": tensors, DESCRIPTION_KEY: described}
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return warnings


FORMAT = Format("the MogaNet repository's .pth.tar", is_official, read_official, write_official, (".pth", ".pth.tar"))
TIMM_FORMAT = Format("a state dict of the reference's names", is_state_dict, read_state_dict)
