"""What the page shows of answers and explanations: bars, pictures that lie over the image, words."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moganet.data.read import Picture
from moganet.data.resample import seen_part
from moganet.errors import DataError
from moganet.inference.runs import Outputs
from moganet.report.masks import in_colours
from moganet.report.page import as_uri
from moganet.results import Record
from moganet.serve.explaining import How, Until, explained, in_time
from moganet.serve.hosted import Hosted
from moganet.serve.lane import in_thread
from moganet.serve.pictures import Sent, read_sent
from moganet.serve.problems import ProblemError
from moganet.serve.service import Question, Service, answered

MOST_SIDE = 1600  # pixels of a picture's longer side
QUALITY = 90
Part = tuple[float, float, float, float]  # top, left, bottom, right, as shares of the image's sides


class Bar(Record):
    """A name, its share of 1, and its colour in `drawn` where it has one."""

    name: str
    share: float
    colour: tuple[int, int, int] | None = None


class Answer(Record):
    """An image's answer. text: all of it in a line. bars_of: what the bars' shares are.

    rejected: whether the image is unlike those that the model was trained on; None where that can't be told.
    drawn: the image with what the answer marks in it. preview: the image, where the browser can't show its file.
    notes: what was taken for what.
    """

    model: str
    sha256: str
    text: str
    bars: tuple[Bar, ...]
    bars_of: str
    calibrated: bool
    rejected: bool | None
    untrained: bool
    drawn: str | None = None
    preview: str | None = None
    notes: tuple[str, ...] = ()


class Layer(Record):
    """A map in colours, to lie over a part of the image."""

    name: str
    picture: str


class Explanation(Record):
    """Why a class was answered. signed: orange speaks for it and violet against it; else bright is looked at."""

    method: str
    target: str
    signed: bool
    layers: tuple[Layer, ...]
    part: Part
    lines: tuple[str, ...] = ()


async def answer(service: Service, hosted: Hosted, sent: Sent, question: Question, *, preview: bool) -> Answer:
    """Answer for an image. Raises ProblemError for one that can't be read."""
    if question.calibrated:
        hosted.predictor.check_calibrated()
    own, figures = hosted.predictor.config.preprocessing, service.figures
    try:
        picture = await in_thread(service.readers, read_sent, sent, own, service.limits.pixels)
    except DataError as error:
        figures.unreadable.labels(hosted.name).inc()
        raise ProblemError(422, f"{sent.name} is no image that can be read: {error}") from None
    ready = await in_thread(service.readers, hosted.prepared, picture.pixels)
    outputs = await hosted.lane.ask(ready)
    found = await in_thread(service.readers, _answered, hosted, outputs, picture, question, preview)
    figures.rejected.labels(hosted.name).inc(bool(found.rejected))
    return found


def _answered(hosted: Hosted, outputs: Outputs, picture: Picture, question: Question, preview: bool) -> Answer:
    row, given = answered(hosted, outputs, "", question)
    task = hosted.predictor.task
    drawn, colours = task.drawn(picture.pixels, given), task.colours(given)
    return Answer(
        model=hosted.name,
        sha256=hosted.sha256,
        text=row.text(),
        bars_of=row.bars_of,
        bars=tuple(Bar(name=name, share=share, colour=colours.get(name)) for name, share in row.bars()),
        calibrated=question.calibrated,
        rejected=row.rejected,
        untrained=row.untrained,
        drawn=None if drawn is None else _picture(drawn),
        preview=_picture(picture.pixels) if preview else None,
        notes=picture.notes,
    )


def _picture(pixels: NDArray[np.uint8]) -> str:
    """Give an image (C, H, W) as a data URI, at most of the size that a page shows."""
    image = Image.fromarray(in_colours(pixels))
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    return as_uri(image, "JPEG", quality=QUALITY) if max(image.size) > 256 else as_uri(image, "PNG")


async def explanation(
    service: Service, hosted: Hosted, sent: Sent, how: How, tell: Callable[[int, int], object]
) -> Explanation:
    """Explain an image. tell: is told, by another thread, how many steps of how many are done."""
    return await in_time(service, sent, how, partial(_explained, hosted, sent, how, service.limits.pixels), tell)


def _explained(hosted: Hosted, sent: Sent, how: How, most: int, until: Until) -> Explanation:
    from moganet.explanations import METHODS
    from moganet.report.heat import layer

    found, _ = explained(hosted, sent, how, until)
    own, signed = hosted.predictor.config.preprocessing, METHODS[found.method].signed
    maps = {"": found.map, **found.parts}
    layers = [
        Layer(name=name, picture=as_uri(Image.fromarray(layer(heat, signed=signed and not name)), "PNG"))
        for name, heat in maps.items()
    ]
    height, width = read_sent(sent, own, most).pixels.shape[1:]
    top, left, bottom, right = seen_part((height, width), own)
    return Explanation(
        method=found.method,
        target=found.target,
        signed=signed,
        layers=tuple(layers),
        part=(top / height, left / width, bottom / height, right / width),
        lines=tuple(_lines(found)),
    )


def _lines(found: Any) -> list[str]:
    """Say how far the map can be trusted."""
    if "r2" not in found:
        return []
    lines = [f"{found['samples']:,} samples, R² {found['r2']:.2f}"]
    return [*lines, "which parts matter most is not certain: ask for more samples"] if _unsure(found) else lines


def _unsure(found: Any) -> bool:
    from moganet.explanations.lime import STABLE

    return bool("stable" not in found or found["stable"] < STABLE)
