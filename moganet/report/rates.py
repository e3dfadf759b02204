"""Images per second of several models, as bars."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from moganet.report.drawing import caption, names_as_they_are, save_figure

OURS, OTHER = "#D55E00", "#999999"


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
