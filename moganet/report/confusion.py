"""The confusion matrix as a picture: what each class was taken for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from moganet.report.drawing import captions, names_as_they_are, save_figure

MAX_WRITTEN = 20  # classes up to which every cell carries its number
SHORT = 20  # characters of a class's name beside a row or a column


@names_as_they_are
def draw_confusion(
    matrix: np.ndarray, class_names: Sequence[str], path: Path, title: str, *, shares: bool = False
) -> None:
    """Draw a matrix (classes, classes) of counts, rows the truth; colours are the share of the row.

    shares: cells carry the share of the row in per cent, and not the count.
    """
    number = len(class_names)
    side = min(14.0, 3.0 + 0.45 * number)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    if number <= 100:
        size = 9 if number <= MAX_WRITTEN else 5
        names = captions(class_names, SHORT)
        axes.set_xticks(range(number), names, rotation=90, fontsize=size)
        axes.set_yticks(range(number), names, fontsize=size)
    if number <= MAX_WRITTEN:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if share[row, column] > 0.5 else "black"
                text = f"{100 * share[row, column]:.0f}" if shares else str(int(count))
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    save_figure(figure, path)
