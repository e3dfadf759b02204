"""A grid of images with prediction and, where known, truth (the article's figure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from moganet.files import atomic_path

RIGHT, WRONG, UNKNOWN = "#0072B2", "#D55E00", "black"


@dataclass(frozen=True)
class GridItem:
    """An image uint8 (C, H, W), what the network says of it, and the truth where it is known."""

    image: Tensor
    predicted: str
    probability: float
    truth: str | None = None


def draw_grid(items: Sequence[GridItem], path: Path, title: str = "") -> None:
    """Draw the items row by row; a wrong prediction is orange and names the truth."""
    columns = min(len(items), max(1, math.ceil(math.sqrt(len(items) * 1.4))))
    rows = math.ceil(len(items) / columns)
    figure = Figure(figsize=(1.55 * columns, 1.9 * rows + (0.4 if title else 0)), layout="constrained")
    for axes, item in zip(figure.subplots(rows, columns, squeeze=False).flat, items, strict=False):
        array = item.image.numpy()
        axes.imshow(
            array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)),
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        color = UNKNOWN if item.truth is None else RIGHT if item.truth == item.predicted else WRONG
        lines = [f"{_short(item.predicted)} ({100 * item.probability:.0f} %)"]
        if color == WRONG:
            lines.append(f"is {_short(item.truth or '')}")
        axes.set_title("\n".join(lines), fontsize=8, color=color)
    for axes in figure.axes:
        axes.axis("off")
    if title:
        figure.suptitle(title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
