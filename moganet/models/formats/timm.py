"""A state dict under the reference's names, wherever it lies: bare, under "model", behind a prefix, as safetensors."""

from moganet.models.choices import Choices
from moganet.models.formats.format import Format
from moganet.models.reading.checkpoint import FUNCTION_GUESSES, REFERENCE, Checkpoint, checked_state
from moganet.models.reading.contents import Content
from moganet.models.reading.networks import choose_network, find_networks


def is_timm(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    return content.kind != "arrays" and bool(find_networks(content.values))


def read_timm(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content, with or without a head."""
    chosen = choose_network(content, choices, find_networks(content.values))
    return Checkpoint(
        "timm",
        checked_state(chosen.network.state, content.path),
        "single",
        "reference",
        chosen.weights,
        {"weights": chosen.reason, **dict.fromkeys(FUNCTION_GUESSES, REFERENCE)},
        guessed=("weights",) * chosen.is_guess + FUNCTION_GUESSES,
        notes=tuple(chosen.network.notes()),
    )


FORMAT = Format("a state dict of the reference's names", is_timm, read_timm)
