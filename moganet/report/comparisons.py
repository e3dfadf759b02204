"""Models compared in a picture: interactions by their order (MogaNet paper, figure 3), images per second."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moganet.report.drawing import caption, names_as_they_are, save_figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
OURS, OTHER = "#D55E00", "#999999"


@names_as_they_are
def draw_interactions(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Draw J^(m) against m/n for each model; rows hold order, fraction, J, low, high and floor."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    interaction_axes(axes, curves)
    axes.set_title(caption(title, 100), fontsize=10)
    save_figure(figure, path)


def interaction_axes(axes: Axes, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw J^(m) against m/n into axes, as `draw_interactions` does."""
    for k, (name, rows) in enumerate(curves.items()):
        color = COLORS[k % len(COLORS)]
        fraction, strength, low, high, floor = (
            np.array([np.nan if row[column] is None else row[column] for row in rows], float)
            for column in ("fraction", "J", "low", "high", "floor")
        )
        axes.plot(fraction, strength, color=color, marker="o", markersize=4, label=caption(name, 60))
        axes.fill_between(fraction, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(fraction, floor, color=color, linestyle=":", linewidth=1)
    axes.plot([], [], color="grey", linestyle=":", linewidth=1, label="floor of finitely many contexts")
    axes.set(xlabel="order m / number of patches n", ylabel="interaction strength J", xlim=(-0.02, 1.02))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


@names_as_they_are
def draw_rates(names: Sequence[str], rates: Sequence[float], ours: Sequence[bool], path: Path, title: str) -> None:
    """Draw a bar a model, the fastest on top, ours in colour."""
    order = sorted(range(len(names)), key=lambda i: rates[i])
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(names)), layout="constrained")
    axes = figure.subplots()
    colors = [OURS if ours[i] else OTHER for i in order]
    bars = axes.barh(range(len(order)), [rates[i] for i in order], color=colors)  # by place: two may have one name
    axes.set_yticks(range(len(order)), [caption(names[i], 60) for i in order])
    axes.bar_label(bars, fmt="%.4g", padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel("images per second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(caption(title, 100), fontsize=10)
    save_figure(figure, path)
