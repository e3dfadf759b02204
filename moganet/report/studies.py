"""A search in a picture: what each trial reached, and which settings that depended on."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from moganet.report.drawing import caption, names_as_they_are, save_figure
from moganet.results import Metric

COMPLETE, PRUNED, BEST = "#0072B2", "#999999", "#D55E00"
Point = tuple[int, float, str]  # number, figure, "complete" or "pruned"


@names_as_they_are
def draw_study(points: Sequence[Point], importance: Mapping[str, float], path: Path, metric: Metric) -> None:
    """Draw the figure of each trial with the best so far and, where it is known, each setting's importance."""
    figure = Figure(figsize=(9 if importance else 5.5, 1.8 + max(1.8, 0.35 * len(importance))), layout="constrained")
    axes = figure.subplots(1, 2 if importance else 1, squeeze=False)[0]
    _draw_trials(axes[0], points, metric)
    if importance:
        names = list(importance)[::-1]
        bars = axes[1].barh(range(len(names)), [importance[name] for name in names], color=COMPLETE)
        axes[1].set_yticks(range(len(names)), [caption(name, 40) for name in names])
        axes[1].bar_label(bars, fmt="%.2f", padding=3)
        axes[1].margins(x=0.15)
        axes[1].set_xlabel("importance")
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _draw_trials(axes: Any, points: Sequence[Point], metric: Metric) -> None:
    scale = 100 if metric.share else 1
    for state, color, marker in (("complete", COMPLETE, "o"), ("pruned", PRUNED, "x")):
        some = [(number, scale * value) for number, value, is_state in points if is_state == state]
        if some:
            axes.scatter(*zip(*some, strict=True), color=color, marker=marker, label=state, zorder=3)
    done = [(number, scale * value) for number, value, state in points if state == "complete"]
    if done:
        numbers, values = zip(*done, strict=True)
        best = [*accumulate(values, max if metric.mode == "max" else min)]
        axes.step(numbers, best, where="post", color=BEST, label="best so far")
    axes.set(xlabel="trial", ylabel=f"validation {metric.short}{' (%)' if metric.share else ''}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
