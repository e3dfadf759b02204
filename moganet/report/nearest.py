"""A contact sheet: a row for each image asked about, and what is nearest to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from moganet.report.drawing import caption, names_as_they_are, save_figure
from moganet.report.grids import check_picture_name

SHORT = 20  # characters of a name above its picture
INCH, HIGH = 1.5, 2.0  # of a picture, and of a row with its titles
ASKED, MARKED = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Tile:
    """A picture uint8 (H, W, 3), or None where it can't be shown, and the lines above it. marked: in a colour."""

    picture: NDArray[np.uint8] | None
    lines: Sequence[str]
    marked: bool = False


@names_as_they_are
def draw_nearest(rows: Sequence[Sequence[Tile]], path: Path, title: str = "") -> None:
    """Draw a row of tiles for each image asked about, which stands first; many rows stand in blocks side by side."""
    check_picture_name(path)
    columns = max(map(len, rows))
    blocks = max(1, round(math.sqrt(HIGH * len(rows) / (INCH * columns))))  # so that the sheet is not much of a strip
    high = math.ceil(len(rows) / blocks)
    size = (INCH * columns * blocks, HIGH * high + (0.4 if title else 0))
    figure = Figure(figsize=size, layout="constrained")
    for number, block in enumerate(figure.subfigures(1, blocks, squeeze=False)[0]):
        lines = block.subplots(high, columns, squeeze=False)
        for axes in lines.flat:
            axes.axis("off")
        for line, tiles in zip(lines, rows[number * high : (number + 1) * high], strict=False):
            for place, (axes, tile) in enumerate(zip(line, tiles, strict=False)):
                _draw(axes, tile, ASKED if not place else MARKED if tile.marked else "black")
    if title:
        figure.suptitle(caption(title, 20 * columns * blocks), fontsize=10)
    save_figure(figure, path)


def _draw(axes: object, tile: Tile, color: str) -> None:
    text = "\n".join(caption(line, SHORT) for line in tile.lines)
    axes.set_title(text, fontsize=7.5, color=color)  # type: ignore[attr-defined]
    if tile.picture is None:
        nothing = {"ha": "center", "va": "center", "fontsize": 7.5}
        axes.text(0.5, 0.5, "no picture", **nothing)  # type: ignore[attr-defined]
    else:
        axes.imshow(tile.picture)  # type: ignore[attr-defined]
