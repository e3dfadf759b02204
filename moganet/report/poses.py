"""Key points and the lines between them, drawn on an image; left, right and middle in colours of their own."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LEFT, RIGHT, MIDDLE, BOX = (0, 200, 90), (255, 130, 20), (60, 150, 255), (235, 235, 235)
SURE = 0.2  # a key point's score, below which it is not drawn


class Lines(Protocol):
    """What is drawn: the key points' names, and the lines between them."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def lines(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def mirrored(self) -> tuple[int, ...]: ...


def draw_poses(
    image: NDArray[np.uint8], points: NDArray[np.floating], boxes: NDArray[np.floating] | None, skeleton: Lines
) -> NDArray[np.uint8]:
    """Draw poses on an image uint8 (H, W, 3).

    points (N, K, 3): x, y and score, or mark; what has less than 0.2 is left out. boxes (N, 4 or more).
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    pen, unit = ImageDraw.Draw(picture), max(1, round(max(image.shape[:2]) / 250))
    colours = [_colour(skeleton, i) for i in range(len(skeleton.names))]
    for box in () if boxes is None else boxes:
        corners = [(float(box[0]), float(box[1])), (float(box[0] + box[2]), float(box[1] + box[3]))]
        pen.rectangle(corners, outline=BOX, width=max(1, unit // 2))
    for pose in points:
        seen = pose[:, 2] >= SURE
        for one, other in skeleton.lines:
            if seen[one] and seen[other]:
                ends = [tuple(pose[one, :2].tolist()), tuple(pose[other, :2].tolist())]
                colour = colours[one] if colours[one] == colours[other] else MIDDLE
                pen.line(ends, fill=colour, width=unit)
        for (x, y, _), colour, is_seen in zip(pose.tolist(), colours, seen, strict=True):
            if is_seen:
                pen.ellipse([x - unit, y - unit, x + unit, y + unit], fill=colour, outline=(0, 0, 0))
    return np.asarray(picture)


def _colour(skeleton: Lines, place: int) -> tuple[int, int, int]:
    other = skeleton.mirrored[place]
    if other == place:
        return MIDDLE
    name, mirrored = skeleton.names[place].lower(), skeleton.names[other].lower()
    return LEFT if name < mirrored else RIGHT  # "left" stands before "right", and "l" before "r"
