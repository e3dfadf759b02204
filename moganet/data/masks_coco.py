"""Masks of COCO's JSON files: panoptic and stuff PNGs with their categories, and outlines, which are drawn.

Things of a file of instances are drawn over nothing: pixels that no outline covers are of the class "background". Where
outlines overlap the smaller shape is on top, and a crowd at the bottom. Runs of pixels (RLE) are read as written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from moganet.data.class_names import shown
from moganet.data.coco_json import looks_like_coco, read_coco
from moganet.data.masks_coding import IGNORED, Coding
from moganet.data.masks_read import DrawnMask, MaskFile, SegmentsMask, Shape
from moganet.data.outlines import runs_of
from moganet.data.scan import Folder
from moganet.data.split_names import split_of
from moganet.errors import DataError

PREFERRED = ("panoptic", "stuff", "instances")  # where a folder holds several kinds of files
BACKGROUND, VOID = "background", 0  # of outlines and of panoptic segments


@dataclass
class Coco:
    """What JSON files say: pairs of image and mask by split, classes, and images of which nothing is said."""

    pairs: list[tuple[str, Path, MaskFile]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    coding: Coding = field(default_factory=lambda: Coding((0,), (0,)))
    without: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """A JSON file of COCO's form, and its kind."""

    path: Path
    plain: Mapping[str, Any]

    @property
    def is_panoptic(self) -> bool:
        annotations = self.plain["annotations"]
        return bool(annotations) and isinstance(annotations[0], dict) and "segments_info" in annotations[0]

    @cached_property
    def masks(self) -> Path:  # the folder of panoptic masks
        beside, above = self.path.parent / self.path.stem, self.path.parent.parent / self.path.stem
        return above if above.is_dir() and not beside.is_dir() else beside


def coco_pairs(root: Path, tree: Folder, named: str) -> Coco | None:
    """Read the masks of a folder's JSON files; None where it has none of COCO's form.

    named: such a file, where several kinds lie there. Raises DataError for what contradicts itself.
    """
    files = _files(root, named)
    if not files:
        return None
    found = Coco()
    categories = _categories(files)
    background = not files[0].is_panoptic
    order = sorted(categories)
    found.names = (*([BACKGROUND] if background else []), *(categories[number] for number in order))
    classes = {VOID: 0 if background else IGNORED} | {number: i + background for i, number in enumerate(order)}
    found.coding = Coding.of(classes)
    by_name: dict[str, list[Path]] = {}
    for path in tree.all_images:
        by_name.setdefault(path.name, []).append(path)
    for file in files:
        try:
            _read(file, by_name, found)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"{type(error).__name__}: {error}" if not isinstance(error, KeyError) else f"{error} is missing"
            raise DataError(f"{file.path} is not of COCO's form in each of its entries ({what}); mend it") from None
    if not found.pairs:
        raise DataError(f"none of the images that {files[0].path} names lies in {root}")
    kind = "segments of panoptic masks" if files[0].is_panoptic else f"outlines, what none covers for {BACKGROUND}"
    names = shown(file.path.name for file in files)
    found.notes.append(f"took {names} in {root} for masks: {kind}; choose otherwise by masks:DIR?json=FILE")
    return found


def _files(root: Path, named: str) -> list[_File]:
    """Find the JSON files, of one kind where there are several."""
    if named:
        return [_opened(root / part) for part in named.split(",")]
    folders = [folder for folder in (root, root / "annotations") if folder.is_dir()]
    paths = sorted(path for folder in folders for path in folder.glob("*.json"))
    for kind in PREFERRED:
        if some := [path for path in paths if path.name.startswith(kind)]:
            return [_opened(path) for path in some]
    return [_opened(path) for path in paths if looks_like_coco(path)]


def _opened(path: Path) -> _File:
    return _File(path, read_coco(path))


def _categories(files: Sequence[_File]) -> dict[int, str]:
    found: dict[int, str] = {}
    for file in files:
        for one in file.plain["categories"]:
            if not isinstance(one, dict) or not isinstance(one.get("id"), int) or "name" not in one:
                raise DataError(f"{file.path} has a category without a number and a name: {str(one)[:60]}")
            number, name = int(one["id"]), str(one["name"])
            if found.setdefault(number, name) != name:
                raise DataError(f"{file.path} calls category {number} {name!r}, another file {found[number]!r}")
    if not found:
        raise DataError(f"{files[0].path} has no categories")
    if VOID in found:
        raise DataError(f"{files[0].path} has a category 0, which stands for no class; begin at 1")
    return found


def _read(file: _File, by_name: Mapping[str, list[Path]], found: Coco) -> None:
    split = split_of(file.path.stem) or "train"
    shapes: dict[Any, list[Mapping[str, Any]]] = {}
    for one in file.plain["annotations"]:
        shapes.setdefault(one["image_id"], []).append(one)
    for entry in file.plain["images"]:
        image = _image(str(entry["file_name"]), split, by_name)
        if image is None:
            continue
        own = shapes.get(entry["id"], [])
        if file.is_panoptic and not own:
            found.without.append(image)
        else:
            mask = _segments(file, own[0]) if file.is_panoptic else _drawn(file, entry, own)
            found.pairs.append((split, image, mask))


def _image(name: str, split: str, by_name: Mapping[str, list[Path]]) -> Path | None:
    """Find an image by its name, of several that in the split's folder."""
    paths = by_name.get(Path(name).name, [])
    fitting = [path for path in paths if path.as_posix().endswith(name)] or paths
    in_split = [path for path in fitting if split_of(path.parent.name) == split]
    return next(iter(in_split or fitting), None)


def _segments(file: _File, annotation: Mapping[str, Any]) -> SegmentsMask:
    values = tuple((int(one["id"]), int(one["category_id"])) for one in annotation["segments_info"])
    return SegmentsMask(file.masks / str(annotation["file_name"]), values, VOID)


def _drawn(file: _File, entry: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> DrawnMask:
    largest_first = sorted(annotations, key=lambda one: (not one.get("iscrowd"), -float(one.get("area", 0))))
    shapes = tuple(_shape(one) for one in largest_first)
    return DrawnMask(f"{file.path}/{entry['file_name']}", (int(entry["width"]), int(entry["height"])), shapes, VOID)


def _shape(annotation: Mapping[str, Any]) -> Shape:
    value, outline = int(annotation["category_id"]), annotation.get("segmentation") or []
    if isinstance(outline, list):
        return Shape(value, tuple(tuple(map(float, polygon)) for polygon in outline))
    counts = outline["counts"]
    return Shape(value, (), tuple(counts) if isinstance(counts, list) else tuple(runs_of(str(counts))))
