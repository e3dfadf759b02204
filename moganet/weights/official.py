"""The reference repository's `.pth.tar`: `arch`, `state_dict`, often `state_dict_ema`; single-gated."""

from typing import Any

from torch import Tensor

from moganet.weights.checkpoint import PLAIN_WEIGHTS, Checkpoint


def is_official(content: Any) -> bool:
    """Tell whether a loaded dict has this format's keys."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    return isinstance(state, dict) and "patch_embed1.projection.0.weight" in state


def read_official(content: dict[str, Any], weights: str | None = None) -> Checkpoint:
    """Read a loaded dict. weights: "plain" or "ema"; None takes those whose accuracy was published."""
    arch = str(content.get("arch"))
    has_ema = isinstance(content.get("state_dict_ema"), dict)
    if weights is None:
        weights = "ema" if has_ema and arch not in PLAIN_WEIGHTS else "plain"
        reason = f"{weights} weights of {arch}" + (
            ", as its published accuracy" if has_ema else ", the only ones in the file"
        )
    else:
        reason = f"{weights} weights of {arch}, as asked"
    state: dict[str, Tensor] = content["state_dict_ema" if weights == "ema" else "state_dict"]
    return Checkpoint("official", state, "single", "reference", weights, f"{reason}; single gate, as in the reference")
