"""OpenMixup's `.pth`: `meta` and a `state_dict` whose names start with `backbone.`; nearly always double-gated."""

from pathlib import Path
from typing import Any

from moganet.weights.checkpoint import Checkpoint

# The two released files that were trained without `attn_force_fp32` (spec: released checkpoints).
SINGLE_GATED = ("moga_large_sz224_8xb64_accu2_ep300", "no_forcefp32")


def is_openmixup(content: Any) -> bool:
    """Tell whether a loaded dict has this format's keys."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    return isinstance(state, dict) and "backbone.patch_embed1.projection.0.weight" in state


def read_openmixup(content: dict[str, Any], path: Path) -> Checkpoint:
    """Read a loaded dict; the file's name tells the two single-gated releases from the rest."""
    state = {
        name.removeprefix("backbone.").replace("head.fc.", "head."): tensor
        for name, tensor in content["state_dict"].items()
        if not name.startswith("ema_")
    }
    single = any(mark in path.name for mark in SINGLE_GATED)
    why = "single gate, as this release was trained" if single else "double gate, as OpenMixup trains (attn_force_fp32)"
    return Checkpoint(
        "openmixup", state, "single" if single else "double", "reference", "plain", f"plain weights; {why}"
    )
