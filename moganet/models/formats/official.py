"""The reference repository's `.pth.tar`: `arch`, `state_dict`, often `state_dict_ema`; single-gated."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from moganet.files import atomic_path
from moganet.models.reading.checkpoint import (
    FUNCTION_GUESSES,
    REFERENCE,
    Checkpoint,
    Choices,
    checked_state,
    is_release,
)
from moganet.models.reading.contents import DESCRIPTION_KEY, Content, description_in
from moganet.models.reading.networks import choose_network, find_networks

BARE = ("", "module.", "_orig_mod.")


def is_official(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    if content.kind != "torch":
        return False
    return any(n.keys == ("state_dict",) and n.prefix in BARE for n in find_networks(content.values))


def read_official(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content; without a choice, the weights are those whose accuracy was published."""
    chosen = choose_network(content, choices, find_networks(content.values))
    state = checked_state(chosen.network.state, content.path)
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
        description=description_in(content.values, content.path),
    )


def write_official(path: Path, state: Mapping[str, Tensor], name: str, description: str) -> None:
    """Write the reference's layout, in which its own code and timm read `state_dict`."""
    tensors = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    with atomic_path(path) as temporary:
        torch.save({"arch": name, "state_dict": tensors, DESCRIPTION_KEY: description}, temporary)
