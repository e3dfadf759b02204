"""A run's metrics over its epochs, as a picture (the article's figure) and as a section of the report."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moganet.numbers import percent
from moganet.report.charts import Series, epoch_span, epoch_ticks, line_chart
from moganet.report.drawing import caption, names_as_they_are, save_figure
from moganet.report.page import Section
from moganet.results import Metric

COLORS = {"train": "#0072B2", "val": "#D55E00"}  # distinct under every common colour blindness (Okabe and Ito 2008)
LABELS = {"train": "training (as it is learned: augmented)", "val": "validation (plain)"}
FLAT = 0.002  # a gain that counts as none
Metrics = Mapping[str, Mapping[float, float]]  # {name: {epoch: value}}


def curves_section(metrics: Metrics, watched: Metric) -> Section:
    """Show loss, what is watched, learning rate and images per second, those that the run has, each with its legend."""
    loss, figure = ({f"{split}/{name}": label for split, label in LABELS.items()} for name in ("loss", watched.name))
    charts = [
        _chart("Loss", metrics, loss),
        _chart(watched.title, metrics, figure, watched.share),
        _chart("Learning rate", metrics, {"lr": "first group of parameters"}),
        _chart("Training images per second", metrics, {"train/images_per_second": "without validation"}),
    ]
    drawn = [chart for chart in charts if chart is not None]
    if not drawn:
        reason = "The curves are left out: the run's metrics are not beside the model."
        return Section("Training", left_out={"curves": reason})
    return Section("Training", say_curves(metrics, watched), "moganet.report/curves.html", {"charts": drawn})


def _chart(
    name: str, metrics: Metrics, lines: Mapping[str, str], is_share: bool = False
) -> tuple[str, Markup, list[Series]] | None:
    """Draw the lines that there are, under a name; lines maps metrics to their labels."""
    series = [
        Series(label, style, [(epoch + 1, value) for epoch, value in sorted(metrics[key].items())])
        for (key, label), style in zip(lines.items(), "ab", strict=False)
        if metrics.get(key)
    ]
    if not series:
        return None
    ends = []
    for one in series:
        (first_x, first), (last_x, last) = one.points[0], one.points[-1]
        values = (percent(first), percent(last)) if is_share else (f"{first:.3g}", f"{last:.3g}")
        ends.append(f"{one.name}: {values[0]} after epoch {first_x:g}, {values[1]} after epoch {last_x:g}")
    return name, line_chart(series, f"{name} by epoch. {'; '.join(ends)}.", percent=is_share), series


def say_curves(metrics: Metrics, watched: Metric) -> str:
    """Say where validation ended, and whether it was still getting better."""
    points = sorted(metrics.get(f"val/{watched.name}", {}).items())
    if not points:
        return "Training, without a validation"
    best_epoch, best = max(points, key=lambda point: (point[1], point[0]))
    text = f"Validation {watched.noun} reached {percent(best)} after epoch {best_epoch + 1}"
    if len(points) < 3:
        return text
    last = points[-1][1]
    third = points[-max(1, len(points) // 3) - 1][1]
    if last < best - 5 * FLAT:
        return text + f" and fell to {percent(last)}"
    return text + (" and was still rising" if best - third > FLAT and last >= best - FLAT else " and levelled off")


@names_as_they_are
def draw_curves(metrics: Metrics, path: Path, title: str, watched: Metric) -> None:
    """Draw loss and what is watched against the epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, shares = figure.subplots(1, 2)
    scale, unit = (100.0, " %") if watched.share else (1.0, "")
    for split, color in COLORS.items():
        for axes, name, factor in ((loss, f"{split}/loss", 1.0), (shares, f"{split}/{watched.name}", scale)):
            points = sorted(metrics.get(name, {}).items())
            if points:
                epochs, values = [epoch + 1 for epoch, _ in points], [factor * value for _, value in points]
                marker = "o" if len(points) < 30 else None
                axes.plot(epochs, values, color=color, marker=marker, markersize=3, label=LABELS[split])
    what = f"{watched.title[0].lower()}{watched.title[1:]}{' (%)' if watched.share else ''}"
    for axes, label in ((loss, "loss"), (shares, what)):
        axes.set(xlabel="epoch", ylabel=label)
        _count_from_1(axes)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if validated := metrics.get(f"val/{watched.name}", {}):
        best, epoch = max((value, epoch) for epoch, value in validated.items())
        if not math.isnan(best):
            shares.set_title(f"best validation {scale * best:.1f}{unit} after epoch {epoch + 1}", fontsize=10)
    figure.suptitle(caption(title, 100))
    drawn = loss if loss.lines else shares
    if drawn.lines:  # below both, where it covers no curve
        figure.legend(handles=drawn.lines, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)


def _count_from_1(axes: Axes) -> None:
    """Let the axis of epochs begin with the first, which is 1."""
    epochs = [epoch for line in axes.lines for epoch in np.asarray(line.get_xdata(), float).tolist()] or [1.0]
    first, last = epoch_span(epochs)
    axes.set_xticks(epoch_ticks(max(epochs)))
    axes.set_xlim(first - 0.03 * (last - first), last + 0.03 * (last - first))
