"""What was taken from a file of weights, and which function it is of; without torch."""

from typing import Any

from moganet.config import Architecture, ChannelAggregation, Gate
from moganet.models.choices import FUNCTION, Weights
from moganet.models.description import OWN
from moganet.models.timms import is_timms
from moganet.results import Record


class Chosen(Record):
    """What was taken from a file, and why.

    gate, channel_aggregation, stem_stride: which function a MogaNet computes; other networks have none of them.
    guessed: what the file does not say. unread: under which keys it may say more, which nobody reads.
    """

    format: str
    weights: Weights
    gate: Gate | None = None
    channel_aggregation: ChannelAggregation | None = None
    stem_stride: int | None = None
    reason: str
    guessed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def function_of(architecture: Architecture) -> dict[str, Any]:
    """Give which function a MogaNet computes; nothing of another network."""
    others = is_timms(architecture.name) or architecture.name.startswith(OWN)
    return {} if others else {name: getattr(architecture, name) for name in FUNCTION}
