"""What a caller, or the name of a release, decides instead of a file."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from moganet.config import MAX_CHANNELS, ChannelAggregation, Gate
from moganet.errors import ConfigError, choose_of

FUNCTION = ("gate", "channel_aggregation", "stem_stride")
MAX_CLASSES = 1_000_000
Weights = Literal["plain", "ema"]


@dataclass(frozen=True)
class Choices:
    """What the caller decides instead of the file; None leaves it to the file.

    num_classes: another number than the file's starts the head anew. in_chans: another number adapts the stem.
    pretrained: False takes a network of timm's without its published weights.
    Raises ConfigError for a value that does not exist.
    """

    weights: Weights | None = None
    gate: Gate | None = None
    channel_aggregation: ChannelAggregation | None = None
    stem_stride: int | None = None
    num_classes: int | None = None
    in_chans: int | None = None
    pretrained: bool | None = None

    def __post_init__(self) -> None:
        known = {"weights": get_args(Weights), "gate": get_args(Gate), "stem_stride": (4, 2, 1)}
        known["channel_aggregation"] = get_args(ChannelAggregation)
        for name, values in known.items():
            given = getattr(self, name)
            if given is not None and given not in values:
                raise ConfigError(f"{name} is {given!r}; {choose_of(given, values)}")
        for name, least, most in (("num_classes", 0, MAX_CLASSES), ("in_chans", 1, MAX_CHANNELS)):
            given = getattr(self, name)
            if given is not None and not least <= given <= most:
                raise ConfigError(f"{name} is {given}; it must be at least {least} and at most {most:,}")

    def given(self) -> dict[str, Any]:
        """Give what was chosen, by name."""
        return {name: getattr(self, name) for name in vars(Choices()) if getattr(self, name) is not None}

    def why(self, name: str) -> str:
        """Say who chose."""
        return "as asked"


@dataclass(frozen=True)
class OfRelease(Choices):
    """Choices of which some are the release's. released: the names of these."""

    released: tuple[str, ...] = ()

    def why(self, name: str) -> str:
        return "as it was released" if name in self.released else super().why(name)
