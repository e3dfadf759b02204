"""Explained photographs: the maps over them at their own size, methods side by side, and a page of all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from PIL import Image

from moganet.files import atomic_path
from moganet.notices import printable
from moganet.numbers import count
from moganet.report.charts import Series, share_chart
from moganet.report.drawing import caption
from moganet.report.grids import Panel, draw_explained
from moganet.report.heat import Part, on_photograph, overlay, seen_slices, with_outside_dimmed
from moganet.report.masks import in_colours
from moganet.report.page import Page, Section, as_uri, make_sheet, write_page

MOST_SIDE = 1200  # pixels of a drawn photograph's longer side
TINY, ENLARGED = 128, 256  # a picture whose longer side is below the one is drawn of as many whole pixels as the other
THUMBNAIL, QUALITY = 480, 80  # pixels, and JPEG's, on the page
SIGNED, UNSIGNED = "orange speaks for the class, violet against it", "bright: looked at"
UNSEEN = "dimmed: outside of what the network sees"


@dataclass(frozen=True)
class Photograph:
    """What is explained. pixels: uint8 (h, w, 3), as drawn. part: what of them the network sees. said: its class."""

    name: str
    said: str
    pixels: np.ndarray
    part: Part

    @property
    def is_whole(self) -> bool:
        """Tell whether the network sees all of it."""
        top, left, bottom, right = self.part
        return top < 0.5 and left < 0.5 and bottom > len(self.pixels) - 0.5 and right > self.pixels.shape[1] - 0.5


@dataclass(frozen=True)
class Map:
    """What a method found: a map (H, W) over what the network sees, superpixels, further maps, and words on it.

    insertion, deletion: the curves of its scores, where it has them.
    """

    method: str
    heat: np.ndarray
    signed: bool
    lines: Sequence[str]
    segments: np.ndarray | None = None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    insertion: Sequence[float] = ()
    deletion: Sequence[float] = ()

    def over(self, photograph: Photograph) -> np.ndarray:
        """Give the photograph, uint8 (h, w, 3), under the map."""
        how = {"signed": self.signed, "segments": self.segments}
        return on_photograph(photograph.pixels, self.heat, photograph.part, **how)  # type: ignore[arg-type]


@dataclass(frozen=True)
class View:
    """A picture on the page: its thumbnail as a data URI, its own file, and what is said of it."""

    uri: str
    alt: str
    lines: Sequence[str]
    href: str = ""
    chart: Markup | None = None


@dataclass(frozen=True)
class Card:
    """An image on the page: its name, its class, and its views."""

    name: str
    said: str
    views: Sequence[View]


def place_photograph(name: str, said: str, pixels: np.ndarray, part: Part) -> Photograph:
    """Bring pixels uint8 (C, H, W) to the size they are drawn at: their own, or less where that is large."""
    image = Image.fromarray(in_colours(pixels))
    side, before = max(image.size), image.size
    if side > MOST_SIDE:
        image = image.resize([max(1, round(one * MOST_SIDE / side)) for one in before], Image.Resampling.LANCZOS)
    elif side < TINY:
        image = image.resize([one * -(-ENLARGED // side) for one in before], Image.Resampling.NEAREST)
    across, down = (after / one for after, one in zip(image.size, before, strict=True))
    top, left, bottom, right = part
    return Photograph(name, said, np.asarray(image), (top * down, left * across, bottom * down, right * across))


def draw_maps(photograph: Photograph, maps: Sequence[Map], place: Path, *, compare: bool) -> dict[str, Path]:
    """Write each map over the photograph, or all side by side, under names that begin as `place` does.

    Gives the files by method; further maps of a method are in a picture of their own, METHOD-parts.png.
    """
    if compare:
        path = Path(f"{place}-compare.png")
        _draw(photograph, maps, [_panel(one, photograph) for one in maps], path)
        return {one.method: path for one in maps}
    files = {}
    for one in maps:
        files[one.method] = Path(f"{place}-{one.method}.png")
        with atomic_path(files[one.method]) as temporary:
            Image.fromarray(one.over(photograph)).save(temporary, "PNG")
        if one.parts:
            seen = photograph.pixels[seen_slices(photograph.part, photograph.pixels.shape)]
            panels = [Panel(overlay(_sized(seen, heat), heat), name) for name, heat in one.parts.items()]
            _draw(photograph, [one], panels, Path(f"{place}-{one.method}-parts.png"))
    return files


def _sized(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(heat.shape[::-1], Image.Resampling.BOX))


def _draw(photograph: Photograph, maps: Sequence[Map], panels: Sequence[Panel], path: Path) -> None:
    first = Panel(with_outside_dimmed(photograph.pixels, photograph.part), "the photograph")
    title = f"{caption(Path(photograph.name).name, 50)}: {caption(photograph.said, 40)}"
    draw_explained([first, *panels], path, title, legend(maps, whole=photograph.is_whole))


def _panel(one: Map, photograph: Photograph) -> Panel:
    return Panel(one.over(photograph), "\n".join([one.method, *one.lines]), one.insertion, one.deletion)


def legend(maps: Sequence[Map], *, whole: bool) -> str:
    """Say what colours mean, those that there are."""
    signed = {one.signed for one in maps}
    texts = [text for kind, text in ((True, SIGNED), (False, UNSIGNED)) if kind in signed]
    return "; ".join(texts if whole else [*texts, UNSEEN])


def card_of(photograph: Photograph, maps: Sequence[Map], files: Mapping[str, Path]) -> Card:
    """Keep of an explained photograph what the page shows."""
    name = Path(photograph.name).name
    seen = with_outside_dimmed(photograph.pixels, photograph.part)
    views = [View(_thumbnail(seen), f"Photograph: {printable(name)}", ["the photograph"])]
    for one in maps:
        file = files[one.method]
        chart = _scores(one) if one.insertion else None
        alt = f"{one.method} over {printable(name)}: {'; '.join(one.lines) or photograph.said}"
        views.append(View(_thumbnail(one.over(photograph)), alt, [one.method, *one.lines], _href(file), chart))
        parts = file.with_name(f"{file.stem}-parts.png")
        if one.parts and parts.is_file():
            with Image.open(parts) as drawn:
                uri = _thumbnail(np.asarray(drawn.convert("RGB")))
            views.append(View(uri, f"{one.method}, its maps one by one", [f"{one.method}: its maps"], _href(parts)))
    return Card(printable(photograph.name), photograph.said, views)


def _scores(one: Map) -> Markup:
    shares = np.linspace(0, 1, len(one.insertion)).tolist()
    lines = [
        Series(name, style, list(zip(shares, values, strict=True)))
        for name, style, values in (("insertion", "a", one.insertion), ("deletion", "b", one.deletion))
    ]
    alt = f"{one.method}: the probability as pixels are put in (insertion) and taken out (deletion), best first."
    return share_chart(lines, alt, "share of pixels")


def _thumbnail(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return as_uri(image, "JPEG", quality=QUALITY)


def _href(file: Path) -> str:
    """Give the address of a file beside the page, whatever bytes its name has."""
    return "./" + quote(os.fsencode(file.name))


def write_explained(cards: Sequence[Card], path: Path, model: str, note: str, left_out: Sequence[str] = ()) -> None:
    """Write the page of all explained images. left_out: a line for each that could not be read."""
    scored = any(view.chart is not None for card in cards for view in card.views)
    content = {"cards": cards, "note": note, "scored": scored, "left_out": list(map(printable, left_out))}
    section = Section("Explanations", "", "moganet.report/explained.html", content, "moganet.report/explained.css")
    none = make_sheet([], 1)
    title = f"{count(len(cards), 'image')} explained"
    write_page(Page(title, printable(model), "explained", [], [section], none, none, ending=False), path)
