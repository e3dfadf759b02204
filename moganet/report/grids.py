"""A grid of images with prediction and, where known, truth (the article's figure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from moganet.errors import OutputError
from moganet.report.drawing import caption, names_as_they_are, save_figure

SHORT = 18  # characters of a name above its image
RIGHT, WRONG, UNKNOWN = "#0072B2", "#D55E00", "black"


@dataclass(frozen=True)
class GridItem:
    """An image uint8 (C, H, W), what the network says of it, how sure it is, and the truth where it is known.

    rejected: the image is unlike those that the network was trained on.
    """

    image: Tensor
    predicted: str
    probability: float | None
    truth: str | None = None
    rejected: bool = False


def check_picture_name(path: Path) -> None:
    """Raise OutputError unless the file name's ending is a picture's."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise OutputError(f"{path} does not end as a picture does; name it .png, or one of {', '.join(sorted(known))}")


def draw_grid(items: Sequence[GridItem], path: Path, title: str = "") -> None:
    """Draw the items row by row; a wrong prediction is orange and names the truth."""
    titles, colors = [], []
    for item in items:
        color = UNKNOWN if item.truth is None else RIGHT if item.truth == item.predicted else WRONG
        wrong = f"\nis {caption(item.truth or '', SHORT)}" if color == WRONG else ""
        unlike = "\n(unlike its training)" if item.rejected else ""
        sure = "" if item.probability is None else f" ({100 * item.probability:.0f} %)"
        titles.append(f"{caption(item.predicted, SHORT)}{sure}{wrong}{unlike}")
        colors.append(color)
    draw_images([item.image for item in items], titles, path, title, colors)


@names_as_they_are
def draw_images(
    images: Sequence[Tensor], titles: Sequence[str], path: Path, title: str = "", colors: Sequence[str] | None = None
) -> None:
    """Draw images uint8 (C, H, W) row by row, each under its title."""
    columns = min(len(images), max(1, math.ceil(math.sqrt(len(images) * 1.4))))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(1.55 * columns, 1.9 * rows + (0.4 if title else 0)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, image, text, color in zip(panels, images, titles, colors or [UNKNOWN] * len(images), strict=False):
        array = image.numpy()
        pixels = array[0] if len(array) == 1 else np.ascontiguousarray(array[:3].transpose(1, 2, 0))
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title("\n".join(caption(line, 40) for line in text.split("\n")), fontsize=8, color=color)
    for axes in figure.axes:
        axes.axis("off")
    if title:
        figure.suptitle(caption(title, 100), fontsize=10)
    check_picture_name(path)
    save_figure(figure, path)
