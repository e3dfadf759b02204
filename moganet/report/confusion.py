"""The confusion matrix as a picture: what each class was taken for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from moganet.files import atomic_path

MAX_WRITTEN = 20  # classes up to which every cell carries its number


def draw_confusion(matrix: np.ndarray, class_names: Sequence[str], path: Path, title: str) -> None:
    """Draw a matrix (classes, classes) of counts, rows the truth; colours are the share of the row."""
    number = len(class_names)
    side = min(14.0, 3.0 + 0.45 * number)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    if number <= 100:
        size = 9 if number <= MAX_WRITTEN else 5
        axes.set_xticks(range(number), class_names, rotation=90, fontsize=size)
        axes.set_yticks(range(number), class_names, fontsize=size)
    if number <= MAX_WRITTEN:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(int(count)), ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
