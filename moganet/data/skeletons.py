"""What is known of sets of key points: COCO's 17 of a person, and what names alone tell of others."""

from collections.abc import Sequence
from typing import NamedTuple

Pairs = tuple[tuple[int, int], ...]


class Skeleton(NamedTuple):
    """Key points: names, lines between them, which one each is in a mirrored image, and how exactly people mark them.

    sigmas: deviation of people's marks as a share of the root of a person's area (COCO's constants of OKS).
    """

    names: tuple[str, ...]
    lines: Pairs
    mirrored: tuple[int, ...]
    sigmas: tuple[float, ...]

    @property
    def lower(self) -> tuple[bool, ...]:
        """Tell of each key point whether it is of the lower half of a body, by the words of its name."""
        return tuple(any(word in name.lower() for word in LOWER) for name in self.names)


LOWER = ("hip", "pelvis", "thigh", "knee", "shin", "leg", "ankle", "foot", "heel", "toe", "tail", "hoof", "paw")
_SIDES = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO = Skeleton(
    ("nose", *(f"{side}_{part}" for part in _SIDES for side in ("left", "right"))),
    (
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
        *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    (0, *(place + (1 if place % 2 else -1) for place in range(1, 17))),
    (0.026, *(sigma for sigma in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2))),
)


def skeleton_of(names: Sequence[str], lines: Pairs = ()) -> Skeleton:
    """Give what is known of key points by their names: COCO's, else left and right by these words, and equal sigmas."""
    named = tuple(names)
    if named == COCO.names:
        return COCO if not lines else COCO._replace(lines=lines)
    mirrored = tuple(_other(name, named, place) for place, name in enumerate(named))
    return Skeleton(named, lines, mirrored, (1 / max(1, len(named)),) * len(named))


def _other(name: str, names: Sequence[str], place: int) -> int:
    """Give the place of a key point's mirror image: "left" for "right", "L" for "R"; its own where there is none."""
    lower = [other.lower() for other in names]
    for one, other in (("left", "right"), ("right", "left")):
        if one in name.lower() and (swapped := name.lower().replace(one, other)) in lower:
            return lower.index(swapped)
    for one, other in (("l", "r"), ("r", "l")):
        for swapped in _by_letter(name.lower(), one, other):
            if swapped in lower:
                return lower.index(swapped)
    return place


def _by_letter(name: str, one: str, other: str) -> list[str]:
    """Give a name with the other side's letter, where a letter of its own stands first or last ("l_knee", "knee.l")."""
    found = [other + name[1:]] if name[:1] == one and name[1:2] in ("_", "-", ".", " ") else []
    return [*found, name[:-1] + other] if name[-1:] == one and name[-2:-1] in ("_", "-", ".", " ") else found
