"""Images side by side: with prediction and, where known, truth (the article's figure), or with their explanations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from moganet.errors import OutputError
from moganet.report.drawing import caption, captions, names_as_they_are, save_figure

SHORT, SHORT_FILE = 18, 24  # characters of a class above its image, of a file's name below it
RIGHT, WRONG, UNKNOWN, FAINT = "#0072B2", "#C04A00", "black", "#555555"  # read on white, also by the colour-blind
MEANING = {RIGHT: "right", WRONG: "wrong: “is” names the truth", UNKNOWN: "truth not known"}
UNDER: Any = {"ha": "center", "va": "top"}
MOST_LINES = 4  # of classes above an image
UNLIKE = "unlike its training"
COLUMNS, INSERTION, DELETION = 5, "#0072B2", "#D55E00"  # of explanations


@dataclass(frozen=True)
class GridItem:
    """An image uint8 (C, H, W), what the network says of it, how sure it is, and the truth where it is known.

    rejected: the image is unlike those that the network was trained on. name: of its file.
    classes, truths: the names that `predicted` and `truth` are of, where they are several.
    """

    image: Any
    predicted: str
    probability: float | None
    truth: str | None = None
    rejected: bool = False
    name: str = ""
    classes: Sequence[str] = ()
    truths: Sequence[str] = ()

    @property
    def lines(self) -> tuple[Sequence[str], Sequence[str]]:
        """Give the names of the classes, and those of the truth."""
        return self.classes or [self.predicted], self.truths or [self.truth or ""]


def check_picture_name(path: Path) -> None:
    """Raise OutputError unless the file name's ending is a picture's."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise OutputError(f"{path} does not end as a picture does; name it .png, or one of {', '.join(sorted(known))}")


@dataclass(frozen=True)
class Look:
    """What stands about images beside their titles: the titles' colours, lines below, and colours by what they mean."""

    colors: Sequence[str] = ()
    below: Sequence[str] = ()
    legend: Mapping[str, str] = field(default_factory=dict)


def draw_grid(items: Sequence[GridItem], path: Path, title: str = "") -> None:
    """Draw the items row by row over their files' names, with a legend; a wrong prediction names the truth."""
    classes = list(dict.fromkeys(name for item in items for names in item.lines for name in names))
    short = dict(zip(classes, captions(classes, SHORT), strict=True))
    titles, colors = [], []
    for item in items:
        said, known = (_lines(names, short) for names in item.lines)
        color = UNKNOWN if item.truth is None else RIGHT if item.truth == item.predicted else WRONG
        wrong = f"\nis {known}" if color == WRONG else ""
        unlike = f"\n({UNLIKE})" if item.rejected else ""
        sure = "" if item.probability is None else f" ({100 * item.probability:.0f} %)"
        titles.append(f"{said}{sure}{wrong}{unlike}")
        colors.append(color)
    legend = {said: color for color, said in MEANING.items() if color in colors}
    look = Look(colors, captions(_file_names([item.name for item in items]), SHORT_FILE), legend)
    draw_images([item.image for item in items], titles, path, title, look)


def _lines(names: Sequence[str], short: Mapping[str, str]) -> str:
    """Give classes, a line each, by their short names; of many the first."""
    lines = [short[name] for name in names]
    more = len(lines) - MOST_LINES
    return "\n".join(lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more"])


def _file_names(names: Sequence[str]) -> list[str]:
    """Give the files' names without their folders, unless two of them are the same then."""
    own = [Path(name).name for name in names]
    return own if len(set(own)) == len(set(names)) else list(names)


@names_as_they_are
def draw_images(
    images: Sequence[Any], titles: Sequence[str], path: Path, title: str = "", look: Look | None = None
) -> None:
    """Draw images uint8 (C, H, W), arrays or tensors, row by row, each under its title."""
    look = look or Look()
    columns = min(len(images), max(1, math.ceil(math.sqrt(len(images) * 1.4))))
    rows = math.ceil(len(images) / columns)
    width = max(1.55 * columns, 2.2 if look.legend else 0)
    across = max(1, int(width / 1.9))  # entries of the legend
    extra = 0.4 * bool(title) + 0.25 * math.ceil(len(look.legend) / across) + 0.2 * rows * any(look.below)
    figure = Figure(figsize=(width, 1.9 * rows + extra), layout=ConstrainedLayoutEngine(h_pad=0.07))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.axis("off")
    for axes, image, text, number in zip(panels, images, titles, range(len(images)), strict=False):
        array = np.asarray(image)
        pixels = array[0] if len(array) == 1 else np.ascontiguousarray(array[:3].transpose(1, 2, 0))
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        color = look.colors[number] if look.colors else UNKNOWN
        axes.set_title("\n".join(caption(line, 40) for line in text.split("\n")), fontsize=8, color=color)
        if number < len(look.below):
            axes.text(0.5, -0.04, look.below[number], fontsize=6.5, color=FAINT, transform=axes.transAxes, **UNDER)
    if look.legend:
        handles = [Patch(color=color, label=said) for said, color in look.legend.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=8, frameon=False)
    if title:
        figure.suptitle(caption(title, 100), fontsize=10)
    check_picture_name(path)
    save_figure(figure, path)


@dataclass(frozen=True)
class Panel:
    """A picture uint8 (H, W, 3) under its title, and the curves of its insertion and deletion where it was scored."""

    picture: np.ndarray
    title: str
    insertion: Sequence[float] = ()
    deletion: Sequence[float] = ()


@names_as_they_are
def draw_explained(panels: Sequence[Panel], path: Path, title: str = "", note: str = "") -> None:
    """Draw the panels row by row, each with its curves beneath where it has them; `note` stands below all."""
    check_picture_name(path)
    rows = -(-len(panels) // COLUMNS)
    columns = -(-len(panels) // rows)
    legend = next((i for i, panel in enumerate(panels) if panel.insertion), None)
    heights, height = ([1.0, 0.6], 4.2) if legend is not None else ([1.0], 2.75)
    figure = Figure(figsize=(2.5 * columns, height * rows + 0.6), layout="constrained")
    axes = figure.subplots(len(heights) * rows, columns, squeeze=False, height_ratios=heights * rows)
    for one in axes.flat:
        one.axis("off")
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        place = axes[len(heights) * row, column]
        place.imshow(panel.picture, interpolation="antialiased")
        place.set_title(panel.title, fontsize=8)
        if panel.insertion:
            _draw_curves(axes[2 * row + 1, column], panel, first=number == legend)
    figure.suptitle(caption(title, 100), fontsize=10)
    if note:
        figure.supxlabel(note, fontsize=7, color="dimgray")
    save_figure(figure, path, dpi=150)


def _draw_curves(axes: Any, panel: Panel, first: bool) -> None:
    axes.axis("on")
    share = np.linspace(0, 1, len(panel.insertion))
    axes.plot(share, panel.insertion, color=INSERTION, label="insertion")
    axes.plot(share, panel.deletion, color=DELETION, linestyle="--", label="deletion")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.tick_params(labelsize=6)
    axes.set_xlabel("share of pixels", fontsize=7)
    if first:
        axes.set_ylabel("probability", fontsize=7)
        axes.legend(fontsize=6)
