"""The reference repository's `.pth.tar`: `arch`, `state_dict`, often `state_dict_ema`; single-gated."""

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
    reasons = dict.fromkeys(FUNCTION_GUESSES, "as in the reference" if released else REFERENCE)
    return Checkpoint(
        "official",
        state,
        "single",
        "reference",
        chosen.weights,
        {"weights": chosen.reason, **reasons},
        guessed=("weights",) * chosen.is_guess + FUNCTION_GUESSES * (not released),
        notes=tuple(chosen.network.notes()),
        description=description,
    )


def write_official(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write the reference's layout, in which its own code and timm read `state_dict`; another function is warned of."""
    warnings = differences(description.architecture, OFFICIAL, "the official code")
    described = describe_as_json(description.changed(sha256=hash_tensors(state)))
    tensors = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    with atomic_path(path) as temporary:
        torch.save(
            {"arch": description.architecture.name, "state_dict": tensors, DESCRIPTION_KEY: described}, temporary
        )
    return warnings


FORMAT = Format("the MogaNet repository's .pth.tar", is_official, read_official, write_official, (".pth", ".pth.tar"))
