"""ADE20K's 150 classes (Zhou et al. 2017), in the order of their indices, and the colours in which they are shown."""

import csv
from functools import cache
from importlib.resources import files

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255


@cache
def ade20k() -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Give the names and the palette; index 0 is "wall", after the 0 of its masks (unlabelled) was taken away."""
    rows = list(csv.DictReader((files(__package__) / "ade20k.csv").read_text("utf-8").splitlines()))
    colours = tuple((int(row["red"]), int(row["green"]), int(row["blue"])) for row in rows)
    return tuple(row["name"] for row in rows), colours
