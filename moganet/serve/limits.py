"""How much one client, and all of them, may ask of the service."""

from dataclasses import dataclass

HELD = 16  # the largest requests, whose bytes may be in memory at a time


@dataclass(frozen=True)
class Limits:
    """What is accepted. Beyond it a request is refused before it costs anything.

    bytes: of a request's body. pixels: of an image, by its header. images: of a request. queue: requests that are
    accepted and not yet answered. seconds: for which a request may take, its body's arrival among them.
    """

    bytes: int = 20 << 20
    pixels: int = 64_000_000
    images: int = 32
    queue: int = 64
    seconds: float = 30.0

    @property
    def held(self) -> int:
        """Give the bytes of all requests that may be in memory at a time."""
        return HELD * self.bytes
