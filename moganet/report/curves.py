"""Loss and accuracy over the epochs of a run, training and validation (the article's figure)."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from moganet.errors import DataError
from moganet.files import read_small
from moganet.report.drawing import caption, names_as_they_are, save_figure

METRICS_LIMIT = 200_000_000  # bytes, of metrics.csv
COLORS = {"train": "#0072B2", "val": "#D55E00"}  # distinct under every common colour blindness (Okabe and Ito 2008)
LABELS = {"train": "training (augmented, smoothed labels)", "val": "validation (plain)"}


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Read Lightning's metrics.csv into {metric: {epoch: value}}."""
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in _rows(path):
        for name, value in row.items():
            if value and name not in ("epoch", "step") and row.get("epoch"):
                metrics[name][int(float(row["epoch"]))] = float(value)
    return dict(metrics)


def read_learning_rate(path: Path) -> dict[float, float]:
    """Read the learning rate from Lightning's metrics.csv, which notes it by step, into {epochs done: rate}."""
    rates, ends = {}, {0: 0.0}
    for row in _rows(path):
        if not row.get("step"):
            continue
        step = int(float(row["step"]))
        if row.get("epoch"):
            ends[step + 1] = float(row["epoch"]) + 1
        rate = next((value for name, value in row.items() if name.startswith("lr") and value), None)
        if rate:
            rates[step] = float(rate)
    steps = sorted(ends)
    return {float(np.interp(step, steps, [ends[s] for s in steps])): rate for step, rate in sorted(rates.items())}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Read a table's rows. Raises DataError for a file that is none of a run's, ValueError for odd numbers in it."""
    try:
        for row in csv.DictReader(io.StringIO(read_small(path, METRICS_LIMIT), newline="")):
            yield {name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
    except csv.Error as error:
        raise DataError(f"{path} is no table of a run: {error}") from None


@names_as_they_are
def draw_curves(metrics: dict[str, dict[int, float]], path: Path, title: str) -> None:
    """Draw loss and top-1 accuracy against the epoch; metrics as `read_metrics` gives them."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for split, color in COLORS.items():
        for axes, name, factor in ((loss, f"{split}/loss", 1.0), (accuracy, f"{split}/top1", 100.0)):
            points = sorted(metrics.get(name, {}).items())
            if points:
                epochs, values = [epoch + 1 for epoch, _ in points], [factor * value for _, value in points]
                axes.plot(
                    epochs,
                    values,
                    color=color,
                    marker="o" if len(points) < 30 else None,
                    markersize=3,
                    label=LABELS[split],
                )
    for axes, label in ((loss, "loss"), (accuracy, "top-1 accuracy (%)")):
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    best = max(((value, epoch) for epoch, value in metrics.get("val/top1", {}).items()), default=(math.nan, 0))
    if not math.isnan(best[0]):
        accuracy.set_title(f"best validation {100 * best[0]:.1f} % after epoch {best[1] + 1}", fontsize=10)
    figure.suptitle(caption(title, 100))
    drawn = loss if loss.lines else accuracy
    if drawn.lines:  # below both, where it covers no curve
        figure.legend(handles=drawn.lines, loc="outside lower center", ncols=2, frameon=False)
    save_figure(figure, path)
