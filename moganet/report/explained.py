"""An image's explanations side by side, with the curves of their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from moganet.report.drawing import caption, names_as_they_are, save_figure
from moganet.report.grids import check_picture_name

COLUMNS, INSERTION, DELETION = 5, "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Panel:
    """A picture uint8 (H, W, 3) under its title, and the curves of its insertion and deletion where it was scored."""

    picture: np.ndarray
    title: str
    insertion: Sequence[float] = ()
    deletion: Sequence[float] = ()


@names_as_they_are
def draw_explained(panels: Sequence[Panel], path: Path, title: str = "", note: str = "") -> None:
    """Draw the panels row by row, each with its curves beneath where it has them; `note` stands below all."""
    check_picture_name(path)
    rows = -(-len(panels) // COLUMNS)
    columns = -(-len(panels) // rows)
    scored = any(panel.insertion for panel in panels)
    heights = [1.0, 0.6] if scored else [1.0]
    size = (2.5 * columns, (4.2 if scored else 2.75) * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(heights) * rows, columns, squeeze=False, height_ratios=heights * rows)
    for one in axes.flat:
        one.axis("off")
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        place = axes[len(heights) * row, column]
        place.imshow(panel.picture, interpolation="nearest")
        place.set_title(panel.title, fontsize=8)
        if panel.insertion:
            _draw_curves(axes[2 * row + 1, column], panel, first=number == _first(panels))
    figure.suptitle(caption(title, 100), fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=7, color="dimgray")
    save_figure(figure, path, dpi=110)


def _first(panels: Sequence[Panel]) -> int:
    return next(i for i, panel in enumerate(panels) if panel.insertion)


def _draw_curves(axes: Any, panel: Panel, first: bool) -> None:
    axes.axis("on")
    share = np.linspace(0, 1, len(panel.insertion))
    axes.plot(share, panel.insertion, color=INSERTION, label="insertion")
    axes.plot(share, panel.deletion, color=DELETION, linestyle="--", label="deletion")
    axes.set_ylim(0, 1.02)
    axes.set_xlim(0, 1)
    axes.tick_params(labelsize=6)
    axes.set_xlabel("share of pixels", fontsize=7)
    if first:
        axes.set_ylabel("probability", fontsize=7)
        axes.legend(fontsize=6)
