"""OpenMixup's `.pth`: `meta` and a `state_dict` whose names start with `backbone.`; nearly always double-gated.

Detectors and segmenters of the reference repository name their backbone so too, beside heads of their own.
"""

from typing import Any

from moganet.config import Gate
from moganet.weights.checkpoint import Checkpoint, Choices, checked_state, only_plain, without_wrappers
from moganet.weights.contents import Content

# The two released files that were trained without `attn_force_fp32` (spec: released checkpoints).
SINGLE_GATED = ("moga_large_sz224_8xb64_accu2_ep300", "no_forcefp32")
PREFIX, HEAD = "backbone.", "head.fc."
DENSE = ("neck.", "rpn_head.", "roi_head.", "bbox_head.", "mask_head.", "decode_head.", "auxiliary_head.")


def _state(content: Content) -> dict[str, Any]:
    values = content.values
    if content.kind == "arrays" or not isinstance(values, dict):
        return {}
    state = values.get("state_dict", values)
    if not isinstance(state, dict):
        return {}
    return {bare: state[name] for name, bare in without_wrappers(state).items()}


def is_openmixup(content: Content) -> bool:
    """Tell whether a file holds a backbone under this prefix, alone or with a classifier's head."""
    state = _state(content)
    return f"{PREFIX}patch_embed1.projection.0.weight" in state and not any(n.startswith(DENSE) for n in state)


def is_dense(content: Content) -> bool:
    """Tell whether a file holds a backbone under this prefix beside a detector's or segmenter's heads."""
    state = _state(content)
    return f"{PREFIX}patch_embed1.projection.0.weight" in state and any(n.startswith(DENSE) for n in state)


def read_openmixup(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content; its name tells the two single-gated releases from the rest."""
    kept = {
        name.removeprefix(PREFIX).replace(HEAD, "head."): tensor
        for name, tensor in _state(content).items()
        if not name.startswith("ema_")
    }
    single = any(mark in content.path.name for mark in SINGLE_GATED)
    gate: Gate = "single" if single else "double"
    reasons = {
        "weights": only_plain(choices.weights, content.path),
        "gate": "this release was trained so" if single else "OpenMixup trains so: attn_force_fp32",
        "channel_aggregation": "as in the reference",
    }
    return Checkpoint("openmixup", checked_state(kept, content.path), gate, "reference", "plain", reasons)


def read_dense(content: Content, choices: Choices) -> Checkpoint:
    """Read the backbone out of a detector or segmenter; it has no classifier's head."""
    state = _state(content)
    kept = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    reasons = {
        "weights": only_plain(choices.weights, content.path),
        "gate": "the reference's detectors and segmenters start from its own weights",
        "channel_aggregation": "as in the reference",
    }
    return Checkpoint("dense", checked_state(kept, content.path), "single", "reference", "plain", reasons)
