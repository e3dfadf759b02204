"""Images of more than 8 bits: which value is white, and how they become 8 bits.

White is what `preprocessing.white_level` says, else the end of the type's range, and so the same for a whole set; never
an image's own maximum, which would stretch a dark frame beside its neighbours.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from moganet.errors import DataError, OutOfRangeError

# The end of the range of each type that an image has. Pillow keeps 16-bit samples in 32-bit integers too.
WHITE = {"u2": 65535.0, "i4": 65535.0, "u4": 65535.0, "f2": 1.0, "f4": 1.0, "f8": 1.0}
OVERSHOOT = 1e-3  # of white, for floats: a rounding error of resizing, a quarter of a grey level
USUAL_WHITES = tuple(float(2**bits - 1) for bits in (8, 10, 12, 14, 15))
SETTING = "preprocessing.white_level"
COLOUR, FLOAT = "16-bit colour", "float"


@dataclass(frozen=True)
class Depth:
    """What a deep image is, which value was taken for its white, whether that was a guess, and its highest value."""

    kind: str
    white: float
    guessed: bool
    highest: float

    def note(self) -> str | None:
        """Say what was taken for white, where nobody named it for this kind."""
        if self.kind == COLOUR:
            return f"{COLOUR}: white is taken as 65535; {SETTING} is of grey images, so save darker ones with 8 bits"
        if self.guessed:
            return f"{self.kind}: white is taken as {self.white:g}; --set {SETTING}=VALUE in training chooses otherwise"
        return None


def to_8_bit(values: np.ndarray, depth: Depth, *, inverted: bool = False) -> tuple[np.ndarray, Depth]:
    """Scale values of any shape so that `depth.white` becomes 255, or 0 where they are inverted ("white is zero").

    Gives the depth with the highest value. Raises DataError for values beyond white, which are never clipped.
    """
    low, high = values.min().item(), values.max().item()
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN is the minimum of whatever holds it
        raise DataError(f"a {depth.kind} image must hold numbers; this one holds NaN or infinity")
    white = depth.white
    slack = OVERSHOOT * white if values.dtype.kind == "f" else 0
    if low < -slack or high > white + slack:
        how = f"where white is another value, train with --set {SETTING}=VALUE, or scale the images"
        if low < -slack:
            how = "give images as they are before they are normalised"
            how += "; what resizing left beyond is mended by clamp(0, 1)" if white == 1 and low > -0.5 else ""
        elif white == 1 and high <= 255:
            how = f"divide values of 0..255 by 255; {how}"
        raise OutOfRangeError(
            f"a {depth.kind} image must lie in 0..{white:.17g}; this one spans {low!r} to {high!r}; {how}"
        )
    # Multiplied first, and in double precision, so that halves are halves whatever the values' type.
    scaled = np.round(np.clip(values.astype(np.float64), 0, white) * 255 / white).astype(np.uint8)
    return (255 - scaled if inverted else scaled), replace(depth, highest=high)


def too_dark(depths: Iterable[Depth | None]) -> list[str]:
    """Give a finding for each kind of deep images of a set whose values all end far below what was taken for white."""
    guessed = [depth for depth in depths if depth is not None and depth.guessed]
    findings = []
    for kind in dict.fromkeys(depth.kind for depth in guessed):
        found = [depth for depth in guessed if depth.kind == kind]
        highest = max(one.highest for one in found)
        level = next((white for white in USUAL_WHITES if highest <= white), None)
        if level is None or found[0].white <= 1 or not highest:
            continue
        remedy = "scale them to 8 bits" if kind == COLOUR else f"set {SETTING}={level:g} if that is their white"
        findings.append(f"no value of {len(found)} {kind} images is above {level:g} of {found[0].white:g}: {remedy}")
    return findings
