"""A state dict under the reference's names, as timm saves one: bare, under "model", or as safetensors."""

from typing import Any

from moganet.weights.checkpoint import Checkpoint, Choices, checked_state, only_plain, without_wrappers
from moganet.weights.contents import Content

REASONS = {
    "gate": "a bare state dict does not say; it is the reference's",
    "channel_aggregation": "a bare state dict does not say; it is the reference's",
}


def _state(content: Content) -> dict[str, Any]:
    values = content.values
    if content.kind == "arrays" or not isinstance(values, dict):
        return {}
    inner = values.get("model")
    return inner if isinstance(inner, dict) else values


def is_timm(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    return "patch_embed1.projection.0.weight" in without_wrappers(_state(content)).values()


def read_timm(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content, with or without a head."""
    reasons = {"weights": only_plain(choices.weights, content.path), **REASONS}
    return Checkpoint("timm", checked_state(_state(content), content.path), "single", "reference", "plain", reasons)
