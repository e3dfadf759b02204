"""Things in a picture: boxes with their names, and masks in colours; numpy and Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from moganet.notices import printable
from moganet.report.labelled import font_for
from moganet.report.masks import Colour, in_colours

OPACITY = 0.45  # of masks
LETTERS = (9, 40)  # pixels of the letters' height, at least and at most
SHARE = 28  # of the shorter side that a letter takes
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Drawn:
    """A thing to draw: its box (left, top, right, bottom) in pixels, the text on it, its colour, its mask (H, W).

    faint: only its outline is drawn, thinly: what is left out of learning and counting.
    """

    box: Sequence[float]
    text: str
    colour: Colour
    mask: NDArray[Any] | None = None
    faint: bool = False


def colours_of(number: int) -> tuple[Colour, ...]:
    """Give as many colours as classes, neighbours far from each other and none of them dark."""
    hues = (np.arange(number) * 0.61803398875) % 1.0
    rows = np.stack([np.abs((hues * 6 + shift) % 6 - 3) - 1 for shift in (0, 4, 2)], 1).clip(0, 1)
    return tuple((int(r), int(g), int(b)) for r, g, b in (55 + 200 * rows).round())


def things_of(boxes: Any, labels: Any, class_names: Sequence[str], masks: Any = None, crowd: Any = None) -> list[Drawn]:
    """Give what to draw of boxes (n, 4), places of classes (n,), masks (n, H, W), and which (n,) are crowds."""
    colours, crowd = colours_of(len(class_names)), np.zeros(len(labels), bool) if crowd is None else crowd
    return [
        Drawn(box, class_names[label], colours[label], None if masks is None else np.asarray(masks[i]), bool(crowd[i]))
        for i, (box, label) in enumerate(zip(np.asarray(boxes).tolist(), np.asarray(labels).tolist(), strict=True))
    ]


def with_things(pixels: NDArray[np.uint8], things: Sequence[Drawn]) -> NDArray[np.uint8]:
    """Draw things on a copy of a picture uint8 (C, H, W), the largest first; gives (H, W, 3)."""
    colored = in_colours(pixels).copy()
    order = sorted(things, key=lambda one: (one.box[0] - one.box[2]) * (one.box[3] - one.box[1]))
    for one in order:
        if one.mask is not None and not one.faint:
            inside = np.asarray(one.mask) > 0
            colored[inside] = (colored[inside] * (1 - OPACITY) + np.array(one.colour) * OPACITY).round()
    canvas = Image.fromarray(colored)
    pen, short = ImageDraw.Draw(canvas), min(canvas.size)
    letter = min(max(short // SHARE, LETTERS[0]), LETTERS[1])
    for one in order:
        _draw(pen, one, letter, max(1, short // 200), canvas.size)
    return np.asarray(canvas)


def _draw(pen: ImageDraw.ImageDraw, one: Drawn, letter: int, width: int, size: tuple[int, int]) -> None:
    left, top, right, bottom = one.box
    box = (left, top, max(left, right - 1), max(top, bottom - 1))
    pen.rectangle(box, outline=one.colour, width=1 if one.faint else width)
    text = printable(one.text)
    if not text or one.faint:
        return
    font = font_for(text, letter)
    *_, across, down = pen.textbbox((0, 0), text, font)
    place = (min(max(0.0, left), max(0.0, size[0] - across - 2)), top - down - 2 if top - down - 2 >= 0 else top)
    pen.rectangle((*place, place[0] + across + 2, place[1] + down + 2), fill=one.colour)
    pen.text((place[0] + 1, place[1]), text, BLACK if sum(one.colour) > 380 else WHITE, font)
