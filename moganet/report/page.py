"""The frame of a report: one self-contained page of sections, each drawn by its room's template, with its pictures."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from moganet.files import write_text
from moganet.numbers import percent

FRAME = "moganet.report/page.html"
NO_RECIPE = "The model file says nothing of its recipe."
QUALITIES = (85, 70, 50, 30, 15)
LOSSLESS_SIDE = 16  # pixels; smaller pictures would run into their neighbours
Fact = tuple[str, str, str]  # label, value, note


@dataclass(frozen=True)
class Shown:
    """A picture of the sheet, and what is said of it. heat: the explanation's number in its own sheet."""

    picture: int
    caption: str
    truth: str = ""
    heat: int | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page: a line above its title, the title, which says the finding, and what the template draws.

    template: "ROOM/NAME", in the folder template/ of that package; `it` is the content there, `page` the page.
    style, script: templates of its own style sheet and script. left_out: reasons by the part that is left out.
    """

    kicker: str
    title: str = ""
    template: str = ""
    content: Mapping[str, object] = field(default_factory=dict)
    style: str = ""
    script: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """A sheet of equal squares. uri: the whole picture as a data URI. Number i stands in column i % columns."""

    uri: str
    columns: int
    rows: int
    side: int


@dataclass(frozen=True)
class Command:
    """What is typed to get a model again, into a shell or into Python; text is "" where too little is known.

    install: what brings the versions of packages that it was trained with.
    """

    text: str = ""
    where: str = "a shell"
    install: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """All that the page shows. title: the finding in short. sheet, heats: pictures, and where the network looked.

    ending: whether it ends by saying how to get the model again, where it is of one.
    """

    title: str
    name: str
    split: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    sheet: Sheet
    heats: Sheet
    explained_by: str = ""
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    ending: bool = True
    again: Command = field(default_factory=Command)

    @property
    def left_out(self) -> dict[str, str]:
        """Give the reasons by the part that is left out, in the page's order."""
        reasons = {part: reason for section in self.sections for part, reason in section.left_out.items()}
        return reasons if self.recipe or not self.ending else reasons | {"recipe": NO_RECIPE}


def write_page(page: Page, path: Path) -> None:
    """Write the page as one HTML file that asks for nothing outside itself."""
    from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

    used = [FRAME, *(section.template for section in page.sections if section.template)]
    rooms = {template.partition("/")[0] for template in used}
    environment = Environment(
        loader=PrefixLoader({room: PackageLoader(room, "template") for room in rooms}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    write_text(path, environment.get_template(FRAME).render(page=page))


def make_sheet(pictures: Sequence[np.ndarray], max_bytes: int) -> Sheet:
    """Lay pictures, uint8 (side, side, 3), in a sheet of at most so many bytes, by less quality and, at last, size."""
    if not len(pictures):
        return Sheet("", 1, 1, 1)
    side = pictures[0].shape[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    canvas = np.zeros((rows * side, columns * side, 3), np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // columns * side, number % columns * side
        canvas[y : y + side, x : x + side] = picture
    image = Image.fromarray(canvas)
    while True:
        for quality in QUALITIES:
            uri = as_uri(image, "WEBP", quality=quality, lossless=side <= LOSSLESS_SIDE, method=2)
            if len(uri) <= max_bytes or side <= LOSSLESS_SIDE:
                return Sheet(uri, columns, rows, side)
        side //= 2
        image = image.resize((columns * side, rows * side), Image.Resampling.BOX)


def as_uri(image: Image.Image, kind: Literal["JPEG", "WEBP", "PNG"], **how: Any) -> str:
    """Give a picture as a data URI, a file of its own within the page. how: as Pillow writes such files."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
