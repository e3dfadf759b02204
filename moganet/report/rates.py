"""Images per second of several models, as bars."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from moganet.files import atomic_path

OURS, OTHER = "#D55E00", "#999999"


def draw_rates(names: Sequence[str], rates: Sequence[float], ours: Sequence[bool], path: Path, title: str) -> None:
    """Draw a bar a model, the fastest on top, ours in colour."""
    order = sorted(range(len(names)), key=lambda i: rates[i])
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(
        [names[i] for i in order], [rates[i] for i in order], color=[OURS if ours[i] else OTHER for i in order]
    )
    axes.bar_label(bars, fmt="%.4g", padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel("images per second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
