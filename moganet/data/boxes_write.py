"""Sets of boxes written as COCO, YOLO or PASCAL VOC lay them out, with their images, so that they open again.

supervision's writers are not used: they number COCO's classes and images anew, round boxes to 32 bits and trace
outlines anew from pixels. It reads what is written here (a test).
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
import yaml

from moganet.data.boxes_check import Thing
from moganet.data.boxes_targets import BoxTargets
from moganet.data.contents import ImageFile
from moganet.data.outlines import Outline
from moganet.data.source import Dataset, FileSplit
from moganet.errors import DataError
from moganet.numbers import count
from moganet.progress import Progress, no_progress
from moganet.safe_names import FreeNames

Layout = Literal["coco", "yolo", "voc"]


@dataclass(frozen=True)
class Scene:
    """An image of a set under the name that it gets, and what is marked in it."""

    file: ImageFile
    name: str
    split: str
    size: tuple[int, int]  # width, height
    number: int
    things: tuple[Thing, ...]


@dataclass
class Lost:
    """What a layout can't hold, counted by what it is."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str) -> None:
        """Count one more."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def notes(self, layout: str) -> list[str]:
        """Give a line on each."""
        return [f"{count(number, 'object')} lost in {layout}: {what}" for what, number in self.counts.items()]


def scenes_of(dataset: Dataset) -> list[Scene]:
    """List all images of a set; one that stands in two splits has one name. Raises DataError for sets without boxes."""
    names, known, found = FreeNames(), dict[ImageFile, str](), list[Scene]()
    for split, images in dataset.distinct().items():
        targets = images.targets
        if not isinstance(targets, BoxTargets) or not isinstance(images, FileSplit):
            raise DataError(f"{dataset.spec} has no boxes; give coco:DIR, yolo:DIR, voc:DIR or a table of boxes")
        for index, file in enumerate(images.files):
            name = known[file] = known.get(file) or names.free(file.name)
            found.append(_scene(file, name, split, targets, index))
    return found


def _scene(file: ImageFile, name: str, split: str, targets: BoxTargets, index: int) -> Scene:
    marks, place, things = targets.marks, int(targets.places[index]), []
    rows, labels = targets.kept(index)
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        left, top, right, bottom = marks.boxes[row].tolist()
        outline = None if marks.outlines is None else marks.outlines[row]
        crowd, area = bool(marks.crowd[row]), float(marks.areas[row])
        things.append(Thing((left, top, right, bottom), label, outline, crowd, area, int(marks.numbers[row])))
    width, height = marks.sizes[place].tolist()
    return Scene(file, name, split, (width, height), int(marks.images[place]), tuple(things))


def write_boxes(
    dataset: Dataset, folder: Path, layout: Layout, *, link: bool = False, progress: Progress = no_progress
) -> list[str]:
    """Write a set into an empty folder; link: link images instead of copying them. Gives notes on what is lost."""
    scenes, lost = scenes_of(dataset), Lost()
    images = {_image_place(scene, layout): scene.file for scene in scenes}
    for place, file in progress(images.items(), len(images), "images"):
        _put(file, folder / place, link=link)
    WRITERS[layout](scenes, dataset, folder, lost)
    return lost.notes(layout)


def _image_place(scene: Scene, layout: Layout) -> str:
    folder = {"coco": scene.split, "yolo": f"images/{scene.split}", "voc": "JPEGImages"}[layout]
    return f"{folder}/{scene.name}"


def _put(file: ImageFile, place: Path, *, link: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file, bytes):
        place.write_bytes(file)
    elif not isinstance(file, Path):
        raise DataError(f"{file} lies within another file; unpack it first")
    elif link:
        place.symlink_to(file.absolute())
    else:
        shutil.copyfile(file, place)


def _by_split(scenes: Sequence[Scene]) -> Iterator[tuple[str, list[Scene]]]:
    for split in dict.fromkeys(scene.split for scene in scenes):
        yield split, [scene for scene in scenes if scene.split == split]


def _write_coco(scenes: Sequence[Scene], dataset: Dataset, folder: Path, lost: Lost) -> None:
    """Write annotations/instances_SPLIT.json beside SPLIT/, with the set's own numbers where each stands once."""
    targets = next(iter(dataset.splits.values())).targets
    numbers = (isinstance(targets, BoxTargets) and targets.category_ids) or tuple(
        range(1, len(dataset.class_names) + 1)
    )
    classes = [{"id": number, "name": name} for number, name in zip(numbers, dataset.class_names, strict=True)]
    for split, some in _by_split(scenes):
        things = [(place, thing) for place, scene in enumerate(some) for thing in scene.things]
        own_images, own_things = _once([scene.number for scene in some]), _once([thing.number for _, thing in things])
        images = [
            {"id": number, "file_name": scene.name, "width": scene.size[0], "height": scene.size[1]}
            for number, scene in zip(own_images, some, strict=True)
        ]
        annotations = [
            _annotation(thing, number, own_images[place], numbers)
            for number, (place, thing) in zip(own_things, things, strict=True)
        ]
        plain = {"images": images, "annotations": annotations, "categories": classes}
        _write(folder / "annotations" / f"instances_{split}.json", json.dumps(plain))


def _once(numbers: Sequence[int]) -> Sequence[int]:
    """Give numbers as they are where each is positive and stands once, else 1, 2, 3, …"""
    once = len(set(numbers)) == len(numbers) and min(numbers, default=1) > 0
    return numbers if once else range(1, len(numbers) + 1)


def _annotation(thing: Thing, number: int, image: int, classes: Sequence[int]) -> dict[str, Any]:
    left, top, right, bottom = thing.box
    # As many digits as the files had: the width of a difference has rounding errors.
    box = [round(side, 6) for side in (left, top, right - left, bottom - top)]
    found = {"id": number, "image_id": image, "category_id": classes[thing.label], "bbox": box, "area": thing.area}
    if thing.outline is not None:
        found["segmentation"] = _segmentation(thing.outline)
    return {**found, "iscrowd": int(thing.crowd)}


def _segmentation(outline: Outline) -> Any:
    if outline.runs is None:
        return [polygon.reshape(-1).tolist() for polygon in outline.polygons]
    assert outline.size is not None
    return {"counts": outline.runs.tolist(), "size": [outline.size[1], outline.size[0]]}


def _by_stem(scenes: Sequence[Scene], file: str) -> Iterator[tuple[str, Scene]]:
    """Give each scene with its image's stem, by which its file is called. Raises DataError for two of one stem."""
    names: dict[str, str] = {}
    for scene in scenes:
        stem = Path(scene.name).stem
        if names.setdefault(stem, scene.name) != scene.name:
            raise DataError(f"{names[stem]} and {scene.name} would have one {file}; rename one of them")
        yield stem, scene


def _write_yolo(scenes: Sequence[Scene], dataset: Dataset, folder: Path, lost: Lost) -> None:
    """Write labels/SPLIT/STEM.txt and data.yaml; two images of one stem would have one label file."""
    for stem, scene in _by_stem(scenes, "label file"):
        lines = [line for thing in scene.things if (line := _line(thing, scene.size, lost)) is not None]
        _write(folder / "labels" / scene.split / f"{stem}.txt", "".join(f"{line}\n" for line in lines))
    plain: dict[str, Any] = {"path": ".", **{split: f"images/{split}" for split, _ in _by_split(scenes)}}
    plain["names"] = dict(enumerate(dataset.class_names))
    _write(folder / "data.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _line(thing: Thing, size: tuple[int, int], lost: Lost) -> str | None:
    if thing.crowd:
        lost.add("crowds and difficult ones, of which it knows nothing, are left out")
        return None
    left, top, right, bottom = thing.box
    if thing.outline is None:
        numbers = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]).reshape(2, 2)
    elif thing.outline.runs is not None:
        lost.add("outlines that are runs of pixels become their boxes' corners")
        numbers = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    else:
        numbers = _one_line(thing.outline)
    return " ".join([str(thing.label), *(f"{share:.12g}" for share in (numbers / size).reshape(-1).tolist())])


def _one_line(outline: Outline) -> Any:
    """Join an outline's polygons by bridges that are walked there and back, since a line holds one."""
    first = outline.polygons[0]
    if len(outline.polygons) == 1:
        return first
    parts = [first, first[:1]]
    for polygon in outline.polygons[1:]:
        parts += [polygon, polygon[:1], first[:1]]
    return np.concatenate(parts)


def _write_voc(scenes: Sequence[Scene], dataset: Dataset, folder: Path, lost: Lost) -> None:
    """Write Annotations/STEM.xml and ImageSets/Main/SPLIT.txt; pixels are counted from 1, and the last is the box's."""
    for stem, scene in _by_stem(scenes, "XML file"):
        width, height = scene.size
        objects = "".join(_object(thing, dataset.class_names, lost) for thing in scene.things)
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation>\n  <filename>{escape(scene.name)}</filename>\n  {size}\n{objects}</annotation>\n"
        _write(folder / "Annotations" / f"{stem}.xml", text)
    for split, some in _by_split(scenes):
        _write(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{Path(one.name).stem}\n" for one in some))


def _object(thing: Thing, names: Sequence[str], lost: Lost) -> str:
    if thing.outline is not None:
        lost.add("outlines; its boxes are kept")
    left, top, right, bottom = thing.box
    corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
    box = "".join(f"<{side}>{value:.10g}</{side}>" for side, value in corners.items())
    difficult = f"<difficult>{int(thing.crowd)}</difficult>"
    return f"  <object><name>{escape(names[thing.label])}</name>{difficult}<bndbox>{box}</bndbox></object>\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # the folder as a whole appears at once


WRITERS: Mapping[Layout, Callable[[Sequence[Scene], Dataset, Path, Lost], None]] = {
    "coco": _write_coco,
    "yolo": _write_yolo,
    "voc": _write_voc,
}
