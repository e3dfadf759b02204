"""What a format's reader gives of a set of boxes, before anything of it is judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from moganet.data.contents import ImageFile
from moganet.data.split_names import SplitName

Form = Literal["xyxy", "xywh", "cxcywh"]  # corners; left, top, width, height; middle, width, height

AROUND = "around its outline"


class Fault(NamedTuple):
    """What is wrong: a kind of `boxes_query.FAULTS`, the file in which that stands, and what it is."""

    kind: str
    file: str
    text: str


@dataclass(slots=True)
class RawObject:
    """A thing as its format says it. where: how a person finds it, "annotation 17". wrong: its own fault, if known.

    label: its class's place, or the text of one that is unknown. box: numbers by the set's form, or AROUND `outline`,
    which is as COCO writes a segmentation. area: in pixels, where the format says one. crowd: neither learned nor
    counted. number: of the annotation.
    """

    where: str
    label: int | str
    box: Any
    outline: Any = None
    crowd: bool = False
    area: float | None = None
    number: int = 0
    wrong: tuple[str, str] | None = None


@dataclass(slots=True)
class RawImage:
    """An image as its format says it. name: as it stands there. said: the size there (width, height), if any."""

    file: ImageFile | None
    name: str
    split: SplitName
    source: str  # the file that says so
    objects: list[RawObject] = field(default_factory=list)
    said: tuple[Any, Any] | None = None
    number: int | None = None
    group: str | None = None  # images of one are not divided between training and validation


@dataclass
class RawSet:
    """All of a set. relative: numbers are shares of the image. numbers: COCO's numbers of the classes.

    faults: what does not belong to an image that is there.
    """

    class_names: tuple[str, ...]
    images: list[RawImage] = field(default_factory=list)
    form: Form = "xyxy"
    relative: bool = False
    numbers: tuple[int, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: Sequence[Path] = ()  # files that are part of the set beside its images


def whole(width: object, height: object) -> tuple[Any, Any]:
    """Give a size as a file says it, floats that are whole numbers as such."""

    def one(side: object) -> object:
        return int(side) if isinstance(side, float) and side.is_integer() else side

    return one(width), one(height)
