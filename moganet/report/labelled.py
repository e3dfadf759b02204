"""A picture with what is said of it written on it, at its own size; beneath it, where it is too small for letters."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from moganet.notices import printable, say
from moganet.report.drawing import both_ends, installed_fonts
from moganet.report.grids import RIGHT, UNKNOWN, UNLIKE, WRONG
from moganet.report.masks import in_colours

SMALLEST = 128  # pixels of the shorter side, below which the words stand beneath the picture
NARROWEST = 200  # pixels, that words beneath a picture have
LETTERS = (13, 64)  # pixels of the letters' height, at least and at most
SHARE, MOST_LINES = 24, 6  # of the shorter side that a letter takes; lines of classes
OPACITY, MOST_COVERED = 0.88, 0.6  # of the ground of the words; the share of a picture's height that it may take
FRAME = "#E69F00"  # of a rejected picture


@dataclass(frozen=True)
class Label:
    """What is said of a picture. right: whether it is so, None where nobody knows. rejected: it is framed."""

    text: str
    right: bool | None = None
    truth: str | None = None
    rejected: bool = False

    @property
    def color(self) -> str:
        return {True: RIGHT, False: WRONG, None: UNKNOWN}[self.right]

    @property
    def texts(self) -> list[str]:
        wrong = [f"is {self.truth}"] if self.right is False and self.truth is not None else []
        return [self.text, *wrong, *([f"({UNLIKE})"] if self.rejected else [])]


def label_picture(pixels: np.ndarray, label: Label) -> Image.Image:
    """Write on a copy of a picture uint8 (C, H, W) of 1 or 3 channels; letters are white on a ground that is dark."""
    colored = in_colours(pixels)
    height, width = colored.shape[:2]
    beneath = min(width, height) < SMALLEST
    letter = LETTERS[0] if beneath else min(max(min(width, height) // SHARE, LETTERS[0]), LETTERS[1])
    room = max(width, NARROWEST) if beneath else width
    text = "\n".join(line for one in label.texts for line in _lines(printable(one), letter, room - letter))
    font, place = font_for(text, letter), (letter // 2, letter // 3)
    *_, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(place, text, font)
    needed = int(bottom) + letter // 2
    if beneath or needed > height * MOST_COVERED:
        canvas = Image.new("RGB", (room, height + needed), label.color)
        canvas.paste(Image.fromarray(colored))
        place = (place[0], height + place[1])
    else:
        ground = colored[:needed, : int(right) + letter // 2]
        ground[:] = ground * (1 - OPACITY) + np.array(ImageColor.getrgb(label.color)) * OPACITY
        canvas = Image.fromarray(colored)
    ImageDraw.Draw(canvas).multiline_text(place, text, "white", font)
    if label.rejected:
        thick = max(2, min(width, height) // 100)
        ImageDraw.Draw(canvas).rectangle((0, 0, width - 1, height - 1), outline=FRAME, width=thick)
    return canvas


def _lines(text: str, letter: int, room: int) -> list[str]:
    """Break a text between classes, and cut in the middle what is still too long: names keep their ends."""
    lines: list[str] = []
    for part in text.split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and _width(longer, letter) <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    more = [f"and {len(lines) - MOST_LINES + 1:,} more"] if len(lines) > MOST_LINES else []
    kept = lines[: MOST_LINES - 1] if more else lines
    return [*(_cut(line, letter, room) for line in kept), *more]


def _cut(line: str, letter: int, room: int) -> str:
    if _width(line, letter) <= room:
        return line
    short, long = 2, len(line)  # characters that fit, and that don't
    while long - short > 1:
        middle = (short + long) // 2
        short, long = (middle, long) if _width(both_ends(line, middle), letter) <= room else (short, middle)
    return both_ends(line, short)


def _width(text: str, letter: int) -> float:
    return font_for(text, letter).getlength(text)


def font_for(text: str, letter: int) -> ImageFont.FreeTypeFont:
    """Give the first font here that has all characters of a text, else the first of all, and say so."""
    for path in installed_fonts():
        if all(ord(one) in _characters(path) for one in text if not one.isspace()):
            return _opened(path, letter)
    say("no font here has all characters of the names, which are boxes in pictures; install one, say Noto Sans")
    return _opened(installed_fonts()[0], letter)


@cache
def _opened(path: str, letter: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, letter)


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(path).get_charmap())
