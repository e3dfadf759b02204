"""The reference repository's `.pth.tar`: `arch`, `state_dict`, often `state_dict_ema`; single-gated."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from moganet.errors import WeightsError
from moganet.files import atomic_path
from moganet.weights.checkpoint import (
    PLAIN_WEIGHTS,
    Checkpoint,
    Choices,
    Weights,
    checked_state,
    variant_name,
    without_wrappers,
)
from moganet.weights.contents import Content

DESCRIPTION_KEY = "moganet"  # what our own files say of themselves; other readers pass it over
REASONS = {"gate": "as in the reference", "channel_aggregation": "as in the reference"}


def is_official(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    state = content.values.get("state_dict") if isinstance(content.values, dict) else None
    return isinstance(state, dict) and "patch_embed1.projection.0.weight" in without_wrappers(state).values()


def read_official(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content; without a choice, the weights are those whose accuracy was published."""
    values, path = content.values, content.path
    has_ema = isinstance(values.get("state_dict_ema"), dict)
    plain = checked_state(values["state_dict"], path)
    weights, reason = _choose(has_ema, variant_name(values.get("arch"), plain), choices.weights, path)
    state = plain if weights == "plain" else checked_state(values["state_dict_ema"], path)
    description = values.get(DESCRIPTION_KEY)
    return Checkpoint(
        "official",
        state,
        "single",
        "reference",
        weights,
        {"weights": reason, **REASONS},
        description=description if isinstance(description, str) else None,
    )


def _choose(has_ema: bool, variant: str, asked: Weights | None, path: Path) -> tuple[Weights, str]:
    if asked == "ema" and not has_ema:
        raise WeightsError(f"{path} holds no EMA weights; leave --weights away")
    if asked is not None:
        return asked, "as asked"
    if not has_ema:
        return "plain", "the only ones in the file"
    if variant in PLAIN_WEIGHTS:
        return "plain", f"the published accuracy of {variant} is theirs"
    return "ema", f"the published accuracy of {variant} is theirs"


def write_official(path: Path, state: Mapping[str, Tensor], name: str, description: str) -> None:
    """Write the reference's layout, in which its own code and timm read `state_dict`."""
    tensors = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    with atomic_path(path) as temporary:
        torch.save({"arch": name, "state_dict": tensors, DESCRIPTION_KEY: description}, temporary)
