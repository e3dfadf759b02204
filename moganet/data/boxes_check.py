"""What of a set of boxes can be used, and what is wrong with the rest: faults by kind, file and place; no torch."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from moganet.data.boxes_query import Asked
from moganet.data.boxes_raw import AROUND, Fault, Form, RawImage, RawObject, RawSet
from moganet.data.findings import FaultError
from moganet.data.masks_read import size_of_image
from moganet.data.outlines import Outline, Size, around, read_outline
from moganet.numbers import count

Box = tuple[float, float, float, float]  # left, top, right, bottom
EDGE = 1.0  # pixels beyond the image that come of rounding, and of counting from 0 or 1
LARGEST = 1e6  # pixels; beyond lies no image


@dataclass(slots=True)
class Thing:
    """An object that can be used: its box in pixels, its class's place, its outline where it has one."""

    box: Box
    label: int
    outline: Outline | None
    crowd: bool
    area: float
    number: int


@dataclass(slots=True)
class GoodImage:
    """An image that can be used, its size as it is shown (width, height), and what of it can be."""

    raw: RawImage
    size: Size
    things: list[Thing] = field(default_factory=list)


@dataclass
class Judged:
    """What can be used, what is wrong and was not said to be left out, what was left out, and what was mended."""

    images: list[GoodImage] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    left: list[Fault] = field(default_factory=list)
    mended: list[Fault] = field(default_factory=list)
    has_masks: bool = False


def judge(raw: RawSet, asked: Asked) -> Judged:
    """Judge all of a set."""
    judged = Judged()
    for fault in raw.faults:
        _note(fault, judged, asked)
    files = [image.file for image in raw.images]
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(lambda file: None if file is None else size_of_image(file), files))
    outlined = [one.outline is not None for image in raw.images for one in image.objects if not one.crowd]
    judged.has_masks = asked.word("masks") != "none" and any(outlined)
    for image, size in zip(raw.images, sizes, strict=True):
        found = _image(image, size, raw, judged, asked)
        if found is not None:
            judged.images.append(found)
    return judged


def _note(fault: Fault, judged: Judged, asked: Asked) -> None:
    answer = asked.answer(fault.kind)
    left_out = judged.left if answer in ("drop", "skip") else judged.mended
    (judged.faults if answer == "refuse" else left_out).append(fault)


def _image(image: RawImage, size: Size | None, raw: RawSet, judged: Judged, asked: Asked) -> GoodImage | None:
    """Judge an image and what lies in it; None where it is left out, or can't be used."""
    if image.file is None:
        objects = f" ({count(len(image.objects), 'object')})" if image.objects else ""
        _note(Fault("missing", image.source, f"there is no image {image.name}{objects}"), judged, asked)
        return None
    said = _said(image, judged, asked)
    size = size or said
    if size is None and image.objects:
        _note(Fault("missing", image.source, f"{image.name} can't be read as an image"), judged, asked)
        return None
    size = size or (1, 1)  # it can't be read, as whoever reads it says
    stretched = (1.0, 1.0)
    if said is not None and said != size:
        turned = said == (size[1], size[0])
        kind, end = ("turned", " as it is shown") if turned else ("size", "")
        text = f"{image.name} has {size[0]}x{size[1]} pixels{end}, where {said[0]}x{said[1]} stands"
        _note(Fault(kind, image.source, text), judged, asked)
        if asked.answer(kind) == "skip":
            return None
        if asked.answer(kind) == "scale":
            stretched = size[0] / said[0], size[1] / said[1]
    found, frame = GoodImage(image, size), _Frame(size, said or size, stretched, raw)
    for one in image.objects:
        thing = _thing(one, image, frame, judged, asked)
        if thing is not None:
            found.things.append(thing)
    return found


def _said(image: RawImage, judged: Judged, asked: Asked) -> Size | None:
    if image.said is None:
        return None
    width, height = image.said
    if type(width) is int and type(height) is int and 0 < width < LARGEST and 0 < height < LARGEST:
        return width, height
    text = f"{image.name} is said to have {str(width)[:20]} x {str(height)[:20]} pixels"
    _note(Fault("size", image.source, text), judged, asked)
    return None


@dataclass(frozen=True)
class _Frame:
    """In what an object lies: the image's size, that which its format says, and how it is stretched."""

    size: Size
    said: Size
    stretched: tuple[float, float]
    raw: RawSet


def _thing(one: RawObject, image: RawImage, frame: _Frame, judged: Judged, asked: Asked) -> Thing | None:
    """Judge an object. What can be mended by what was asked is mended, else it is left out or a fault."""

    def answered(error: FaultError) -> bool:  # whether it is used all the same
        fault = Fault(error.kind, image.source, f"{one.where} ({image.name}): {error}")
        _note(fault, judged, asked)
        return asked.answer(error.kind) in ("clip", "box")

    try:
        if one.wrong is not None:
            raise FaultError(*one.wrong)
        if isinstance(one.label, str):
            raise FaultError("class", f"{one.label} is no class")
        outline = None
        try:
            outline = _outline(one, frame, judged.has_masks)
        except FaultError as error:
            if not answered(error):
                return None
        box = _box(one, outline, frame)
        try:
            _inside(box, frame.size)
        except FaultError as error:
            if not answered(error):
                return None
            box = _clipped(box, frame.size)
            if box[2] <= box[0] or box[3] <= box[1]:
                return None
    except FaultError as error:
        answered(error)
        return None
    kept = (outline or around(box)) if judged.has_masks else None
    if one.area is not None:
        area = one.area * frame.stretched[0] * frame.stretched[1]
    else:
        area = (box[2] - box[0]) * (box[3] - box[1]) if outline is None else outline.area()
    return Thing(box, one.label, kept, one.crowd, area, one.number)


def _outline(one: RawObject, frame: _Frame, wanted: bool) -> Outline | None:
    """Read an object's outline, in pixels of the image; None where it has none, or none is needed."""
    if one.outline is None:
        if wanted and not one.crowd:
            raise FaultError("without", "it has no outline, where others have")
        return None
    if not wanted and one.box is not AROUND:
        return None
    try:
        outline = read_outline(one.outline, frame.said)
    except ValueError as error:
        raise FaultError("outline", str(error)) from None
    if frame.raw.relative:
        return outline.scaled(*frame.size)
    if frame.stretched == (1.0, 1.0):
        if outline.runs is not None and outline.size != frame.size:
            raise FaultError("outline", f"runs (RLE) of {outline.size} pixels for an image of {frame.size}")
        return outline
    if outline.runs is not None:
        raise FaultError("outline", "runs (RLE) can't be stretched to another size")
    return outline.scaled(*frame.stretched)


def _box(one: RawObject, outline: Outline | None, frame: _Frame) -> Box:
    """Give an object's box in pixels of the image. Raises FaultError for what is none."""
    if one.box is AROUND:
        found = outline.box() if outline is not None else None
        if found is None:
            raise FaultError("area", "its outline covers nothing")
        box = found
    else:
        numbers = _numbers(one.box)
        across, down = frame.size if frame.raw.relative else frame.stretched
        box = corners(numbers, frame.raw.form)
        box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    if not all(math.isfinite(side) and abs(side) < LARGEST for side in box):
        raise FaultError("outside", f"its box {_plain(box)} lies beyond all images")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise FaultError("area", f"its box is {box[2] - box[0]:g} wide and {box[3] - box[1]:g} high")
    return box


def _numbers(box: Any) -> Sequence[float]:
    if box is None:
        raise FaultError("numbers", "it has no box")
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise FaultError("numbers", f"its box is {str(box)[:60]}, and not four numbers")
    for one in box:
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise FaultError("numbers", f"its box holds {str(one)[:20]!r}, which is no number")
        if not math.isfinite(one) if isinstance(one, float) else abs(one) > LARGEST:
            raise FaultError("numbers", f"its box holds {str(one)[:20]}, which is no place in an image")
    return [float(one) for one in box]


def corners(numbers: Sequence[float], form: Form) -> Box:
    """Give left, top, right, bottom of a box's four numbers."""
    first, second, third, fourth = numbers
    if form == "xyxy":
        return first, second, third, fourth
    if form == "xywh":
        return first, second, first + third, second + fourth
    return first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2


def _inside(box: Box, size: Size) -> None:
    width, height = size
    beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
    if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
        raise FaultError("outside", f"its box {_plain(box)} lies outside the image of {width}x{height}")
    if beyond > EDGE:
        raise FaultError("outside", f"its box {_plain(box)} reaches {beyond:.4g} pixels beyond {width}x{height}")


def _clipped(box: Box, size: Size) -> Box:
    width, height = float(size[0]), float(size[1])
    return max(0.0, box[0]), max(0.0, box[1]), min(width, box[2]), min(height, box[3])


def _plain(box: Box) -> str:
    return f"({', '.join(f'{side:.6g}' for side in box)})"
