"""What every format is read into: tensors under the reference's names, and the function that they were trained with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from moganet.config import Architecture, ChannelAggregation, Gate
from moganet.errors import WeightsError

# The published accuracies of these two are those of the plain weights, of all others those of the EMA's.
PLAIN_WEIGHTS = ("moganet_xtiny", "moganet_tiny")


@dataclass(frozen=True)
class Checkpoint:
    """A released file's tensors by the reference's names, and what the file says of them.

    weights: "plain" or "ema". reason: one line on what was chosen and why.
    """

    format: str
    state: Mapping[str, Tensor]
    gate: Gate
    channel_aggregation: ChannelAggregation
    weights: str
    reason: str


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Read variant, classes and input channels off the tensors' shapes; the stem's stride leaves no trace in them.

    Raises WeightsError where the tensors are not a MogaNet's.
    """
    state = checkpoint.state
    try:
        embed_dims = [state["patch_embed1.projection.3.weight"].shape[0]]
        embed_dims += [state[f"patch_embed{i}.projection.weight"].shape[0] for i in (2, 3, 4)]
        ratios = [state[f"blocks{i}.0.mlp.fc1.weight"].shape[0] / embed_dims[i - 1] for i in (1, 2, 3, 4)]
        in_chans = state["patch_embed1.projection.0.weight"].shape[1]
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"these are not a MogaNet's tensors: {error} is missing; found {', '.join(list(state)[:3])}, …"
        ) from None
    depths = [
        1 + max(int(m[1]) for m in (re.match(rf"blocks{i}\.(\d+)\.", name) for name in state) if m)
        for i in (1, 2, 3, 4)
    ]
    return Architecture.model_validate(
        {
            "name": "moganet_xtiny",
            "embed_dims": embed_dims,
            "depths": depths,
            "mlp_ratios": ratios,
            "num_classes": state["head.weight"].shape[0] if "head.weight" in state else 0,
            "in_chans": in_chans,
            "gate": checkpoint.gate,
            "channel_aggregation": checkpoint.channel_aggregation,
        }
    )
