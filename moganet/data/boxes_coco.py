"""Boxes and outlines of COCO's JSON files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moganet.data.boxes_query import Asked
from moganet.data.boxes_raw import Fault, RawImage, RawObject, RawSet
from moganet.data.class_names import shown
from moganet.data.coco_json import CocoFile, coco_files, is_entry
from moganet.errors import DataError


def read_coco_boxes(given: Path, asked: Asked) -> RawSet:
    """Read a folder's JSON files, or one; classes are in the order of their numbers, which may be sparse."""
    files = coco_files(given, named=asked.word("json"), images=asked.word("images"))
    raw = RawSet((), form="xywh", used=tuple(file.path for file in files))
    names = _categories(files, raw)
    used = {
        one.get("category_id") for file in files for one in file.annotations if isinstance(one, dict) and _hashable(one)
    }
    order = sorted(number for number in names if not _is_head(number, files, used))
    raw.class_names, raw.numbers = tuple(names[number] for number in order), tuple(order)
    places = {number: place for place, number in enumerate(order)}
    for file in files:
        _read_file(file, places, raw)
    if not raw.images and not raw.faults:
        raise DataError(f"{shown(str(file.path) for file in files)} names no images")
    return raw


def _hashable(one: Mapping[str, Any]) -> bool:
    return type(one.get("category_id")) in (int, str, float)


def _categories(files: Sequence[CocoFile], raw: RawSet) -> dict[int, str]:
    """Give the names by number; one that stands twice is a fault, one of two names too."""
    found: dict[int, str] = {}
    for file in files:
        own: dict[int, str] = {}
        for one in file.categories:
            if not is_entry(one, "name"):
                raise DataError(f"{file.path} has a category without a number and a name: {str(one)[:60]}; mend it")
            number, name = one["id"], one["name"]
            if number in own:
                text = f"category {number} stands there twice, as {own[number]!r} and {name!r}"
                raw.faults.append(Fault("ids", str(file.path), text))
                continue
            own[number] = name
            if found.setdefault(number, name) != name:
                raise DataError(f"{file.path} calls category {number} {name!r}, another file {found[number]!r}")
    if not found:
        raise DataError(f"{files[0].path} has no categories; list each class with its number and its name")
    for name, several in ((name, [k for k, v in found.items() if v == name]) for name in dict.fromkeys(found.values())):
        if len(several) > 1:
            numbers = " and ".join(map(str, several))
            raise DataError(f"{files[0].path} calls categories {numbers} both {name!r}; give each a name of its own")
    return found


def _is_head(number: int, files: Sequence[CocoFile], used: set[Any]) -> bool:
    """Tell whether a category is Roboflow's head of all others, of which nothing is: number 0, their supercategory."""
    if number != 0 or number in used:
        return False
    entries = [one for file in files for one in file.categories]
    heads = {one["name"] for one in entries if one["id"] == 0}
    return any(one.get("supercategory") in heads for one in entries if one["id"] != 0)


def _read_file(file: CocoFile, places: Mapping[int, int], raw: RawSet) -> None:
    by_number: dict[int, RawImage] = {}
    by_name: dict[str, int] = {}
    for entry in file.images:
        image = _image(file, entry)
        if isinstance(image, Fault):
            raw.faults.append(image)
            continue
        number = image.number
        assert number is not None
        if number in by_number:
            raw.faults.append(Fault("ids", str(file.path), f"image {number} ({image.name}) stands there twice"))
            continue
        by_number[number] = image
        if (first := by_name.setdefault(image.name, number)) != number:
            text = f"{image.name} is image {first} and image {number}"
            raw.faults.append(Fault("names", str(file.path), text))
            continue
        raw.images.append(image)
    seen: set[int] = set()
    for place, one in enumerate(file.annotations):
        fault = _add(file, one, place, by_number, places, seen)
        raw.faults += [fault] if fault else []


def _image(file: CocoFile, entry: Any) -> RawImage | Fault:
    if not is_entry(entry, "file_name"):
        text = f"an image without a number and a file_name: {str(entry)[:60]}"
        return Fault("ids", str(file.path), text)
    name, said = entry["file_name"], (entry.get("width"), entry.get("height"))
    found = RawImage(file.image(name), name, file.split, str(file.path), number=entry["id"])
    found.said = said if said != (None, None) else None
    return found


def _add(
    file: CocoFile, one: Any, place: int, images: Mapping[int, RawImage], places: Mapping[int, int], seen: set[int]
) -> Fault | None:
    """Put an annotation to its image; give what keeps it from that."""
    if not isinstance(one, dict):
        return Fault("ids", str(file.path), f"the annotation at place {place} is no record: {str(one)[:60]}")
    number = one.get("id")
    where = f"annotation {number}" if number is not None else f"the annotation at place {place}"
    of = one.get("image_id")
    if type(of) is not int or of not in images:
        return Fault("orphan", str(file.path), f"{where} is of image {str(of)[:40]}, which the file does not have")
    if number is not None:
        if type(number) is not int:
            return Fault("ids", str(file.path), f"{where} has no whole number")
        if number in seen:
            return Fault("ids", str(file.path), f"{where} stands there twice (image {images[of].name})")
        seen.add(number)
    said = one.get("category_id")
    label = places.get(said, f"category {str(said)[:40]}") if type(said) is int else f"category {str(said)[:40]!r}"
    outline, area, crowd = one.get("segmentation"), one.get("area"), one.get("iscrowd") in (1, True)
    if outline in ([], {}, "", [[]]):
        outline = None
    known = float(area) if isinstance(area, int | float) and 0 <= area < 1e12 else None
    images[of].objects.append(RawObject(where, label, one.get("bbox"), outline, crowd, known, number or 0))
    return None
