"""What a file of key points says of each image, and what is wrong with it: COCO's JSON; no torch."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from moganet.data.coco_json import CocoFile, is_entry
from moganet.data.findings import FaultError
from moganet.data.masks_read import size_of_image
from moganet.data.skeletons import Pairs
from moganet.errors import DataError, choose_of

MARKS = (0, 1, 2)  # not marked, marked and hidden, marked and seen
EDGE = 1.0  # pixels beyond the image that come of rounding
SHARE = 0.53  # of a box that a person covers, where the file says no area (the mean over COCO's)
MOST = 1e12  # pixels of an area; no image has more
Size = tuple[int, int]  # width, height
# What may be wrong, and what else than mending it helps; the first is the default.
FAULTS: Mapping[str, tuple[str, ...]] = {
    "missing": ("refuse", "drop"),
    "size": ("refuse", "drop"),
    "points": ("refuse", "drop"),
    "outside": ("refuse", "drop", "unmark", "keep"),
    "box": ("refuse", "drop", "around"),
    "ids": ("refuse", "drop"),
}
WORDS = {
    "drop": "leave such out",
    "unmark": "take such key points for unmarked",
    "keep": "take them as they are",
    "around": "take the box around the key points",
}


@dataclass(frozen=True)
class Kind:
    """The category whose key points are read: its number, the key points' names, and the lines between them."""

    number: int
    name: str
    points: tuple[str, ...]
    lines: Pairs


@dataclass
class Thing:
    """A thing that can be used; points: x, y and mark of each key point."""

    box: tuple[float, float, float, float]
    points: list[tuple[float, float, int]]
    area: float
    crowd: bool


@dataclass
class Found:
    """What a file says: things by image (its entry's place), what is wrong by kind, and what was passed over."""

    things: dict[int, list[Thing]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)  # of FAULTS, and what it is
    others: int = 0  # annotations of other categories
    without_area: int = 0


def kinds_of(files: Sequence[CocoFile], named: str) -> list[Kind]:
    """Give each file's category that has key points. Raises DataError for none, for several, and for others."""
    kinds = [_only(file, named) for file in files]
    first = kinds[0]
    if other := next((kind for kind in kinds if kind.points != first.points), None):
        few = f"{', '.join(first.points[:3])}, …; {', '.join(other.points[:3])}, …"
        raise DataError(f"the files name other key points each ({few}); give files of one kind")
    return kinds


def _only(file: CocoFile, named: str) -> Kind:
    have = [one for one in file.categories if isinstance(one, dict) and one.get("keypoints")]
    found = {kind.name: kind for kind in (_kind(file, one) for one in have if isinstance(one["keypoints"], list))}
    if not found:
        what = f"{file.path} has no category with key points (a list of names under 'keypoints')"
        raise DataError(f"{what}; give COCO's person_keypoints_*.json, or another file that names them")
    if named and named not in found:
        what = f"category={named}: {file.path} has no such category with key points"
        raise DataError(f"{what}; {choose_of(named, found)}")
    if not named and len(found) > 1:
        raise DataError(f"{file.path} has key points of {', '.join(found)}; say which by ?category=NAME")
    return found[named or next(iter(found))]


def _kind(file: CocoFile, one: Mapping[str, Any]) -> Kind:
    names = one["keypoints"]
    if not is_entry(one, "name"):
        raise DataError(f"{file.path} has a category without a number and a name: {str(one)[:60]}; mend it")
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise DataError(f"{file.path}: the key points of {one['name']} need a name each, and no two the same; mend it")
    lines = []
    for line in one.get("skeleton") or ():
        ends = tuple(line) if isinstance(line, list | tuple) else ()
        if len(ends) != 2 or not all(type(end) is int and 1 <= end <= len(names) for end in ends):
            raise DataError(
                f"{file.path}: {str(line)[:40]} in the skeleton of {one['name']} is no pair of 1 to {len(names)}"
            )
        lines.append((ends[0] - 1, ends[1] - 1))
    return Kind(one["id"], one["name"], tuple(names), tuple(lines))


def read_people(file: CocoFile, kind: Kind, answers: Mapping[str, str]) -> Found:
    """Read a file's annotations. answers: to each of FAULTS, and "empty": whether images without any are kept."""
    found, places = Found(), dict[int, int]()
    for place, entry in enumerate(file.images):
        if not is_entry(entry, "file_name"):
            found.faults.append(("ids", f"an image has no number and file_name: {str(entry)[:60]}"))
        elif entry["id"] in places:
            found.faults.append(("ids", f"image {entry['id']} ({entry['file_name']}) stands there twice"))
        else:
            places[entry["id"]] = place
    marked = {places.get(one.get("image_id")) for one in _of(file, kind)}
    sizes = _sizes(file, {*places.values()} if answers["empty"] == "keep" else marked)
    for place in sorted({*sizes} - marked):
        if isinstance(size := sizes[place], FaultError):
            found.faults.append((size.kind, str(size)))
        else:
            found.things[place] = []
    reading = _Reading(file, kind, answers, places, sizes, found)
    for number, one in enumerate(file.annotations):
        try:
            reading.read(one, number)
        except FaultError as fault:
            found.faults.append((fault.kind, str(fault)))
    return found


@dataclass
class _Reading:
    """A file whose annotations are read. places: of images by number; sizes: of those asked about, by place."""

    file: CocoFile
    kind: Kind
    answers: Mapping[str, str]
    places: Mapping[int, int]
    sizes: "Mapping[int, Size | FaultError | None]"
    found: Found
    seen: set[int] = field(default_factory=set)  # numbers of annotations

    def read(self, one: Any, number: int) -> None:
        """Read an annotation, the number of which is its place in the file. Raises FaultError."""
        if not isinstance(one, dict):
            raise FaultError("ids", f"the annotation at place {number} is no record: {str(one)[:60]}")
        where = f"annotation {one['id']}" if "id" in one else f"the annotation at place {number}"
        if one.get("category_id") != self.kind.number:
            self.found.others += 1
            return
        of = one.get("image_id")
        place = self.places.get(of) if type(of) is int else None
        if place is None:
            raise FaultError("ids", f"{where} is of image {str(of)[:40]}, which the file does not have")
        if "id" in one:
            if type(one["id"]) is not int or one["id"] in self.seen:
                raise FaultError("ids", f"{where} has no whole number, or one that stands there twice")
            self.seen.add(one["id"])
        if isinstance(size := self.sizes[place], FaultError):
            raise size
        where = f"{where} (image {self.file.images[place]['file_name']})"
        thing = _thing(one, where, self.kind, self.answers, size)
        self.found.without_area += "area" not in one
        self.found.things.setdefault(place, []).append(thing)


def _of(file: CocoFile, kind: Kind) -> list[Any]:
    ours = (one for one in file.annotations if isinstance(one, dict) and one.get("category_id") == kind.number)
    return [one for one in ours if type(one.get("image_id")) is int]


def _sizes(file: CocoFile, places: set[int | None]) -> dict[int, Size | FaultError | None]:
    """Look at the images that are asked about, by threads: give the size of each, or what is wrong with it."""
    asked = [place for place in places if place is not None]

    def look(place: int) -> Size | FaultError | None:
        try:
            return _size(file, file.images[place])
        except FaultError as fault:
            return fault

    with ThreadPoolExecutor() as pool:
        return dict(zip(asked, pool.map(look, asked), strict=True))


def _size(file: CocoFile, entry: Mapping[str, Any]) -> Size | None:
    """Give an image's width and height as it is shown; None where it can't be read, as its reader says then."""
    path, name = file.image(entry["file_name"]), entry["file_name"]
    if path is None:
        raise FaultError("missing", f"there is no image {name}")
    size, said = size_of_image(path), (entry.get("width"), entry.get("height"))
    if size is not None and None not in said and said != size:
        turned = " as it is shown" if said == size[::-1] else ""
        raise FaultError("size", f"{name} has {size[0]}x{size[1]} pixels{turned}, where {said[0]}x{said[1]} stands")
    return size


def _thing(one: Mapping[str, Any], where: str, kind: Kind, answers: Mapping[str, str], size: Size | None) -> Thing:
    crowd = one.get("iscrowd") in (1, True)
    points = _points(one.get("keypoints"), where, len(kind.points), crowd=crowd)
    if size is not None and answers["outside"] != "keep":
        outside = [not (-EDGE <= x <= size[0] + EDGE and -EDGE <= y <= size[1] + EDGE) for x, y, _ in points]
        first = next((i for i, (out, point) in enumerate(zip(outside, points, strict=True)) if out and point[2]), None)
        if first is not None and answers["outside"] != "unmark":
            what = f"its {kind.points[first]} at {points[first][:2]} lies outside of the {size[0]}x{size[1]} pixels"
            raise FaultError("outside", f"{where}: {what}")
        if first is not None:
            points = [(0.0, 0.0, 0) if out else point for out, point in zip(outside, points, strict=True)]
    marked = [point for point in points if point[2]]
    box = _box(one.get("bbox"))
    if marked and (box is None or (size is not None and not _touches(box, size))):
        box = _around(marked) if answers["box"] == "around" else None
        if box is None:
            what = f"its bbox {str(one.get('bbox'))[:60]} is no box in the image (x, y, width, height)"
            raise FaultError("box", f"{where}: {what}")
    box = box or (0.0, 0.0, 0.0, 0.0)
    area = one.get("area", box[2] * box[3] * SHARE)
    is_area = isinstance(area, int | float) and not isinstance(area, bool) and 0 <= area < MOST
    if not is_area or (marked and not area):
        raise FaultError("box", f"{where}: its area {str(area)[:40]} is no number of pixels")
    return Thing(box, points, float(area), crowd)


def _points(given: Any, where: str, number: int, *, crowd: bool) -> list[tuple[float, float, int]]:
    if given is None and crowd:
        given = [0] * 3 * number
    if not isinstance(given, list):
        raise FaultError("points", f"{where} has no list of key points")
    if len(given) != 3 * number:
        raise FaultError("points", f"{where} has {len(given)} numbers, and not 3 for each of {number} key points")
    if not all(_is_number(value) for value in given):
        wrong = next(value for value in given if not _is_number(value))
        raise FaultError("points", f"{where}: {str(wrong)[:40]!r} among its key points is no number")
    found = []
    for x, y, mark in zip(*[iter(given)] * 3, strict=True):
        if mark not in MARKS:
            raise FaultError("points", f"{where}: a key point is marked {mark}; 0, 1 (hidden) and 2 (seen) are known")
        found.append((float(x), float(y), int(mark)))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e7


def _box(given: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(given, list | tuple) or len(given) != 4 or not all(_is_number(value) for value in given):
        return None
    x, y, width, height = map(float, given)
    return (x, y, width, height) if width > 0 and height > 0 else None


def _touches(box: Sequence[float], size: Size) -> bool:
    return box[0] < size[0] and box[1] < size[1] and box[0] + box[2] > 0 and box[1] + box[3] > 0


def _around(marked: Sequence[tuple[float, float, int]]) -> tuple[float, float, float, float] | None:
    xs, ys = [x for x, _, _ in marked], [y for _, y, _ in marked]
    width, height = max(xs) - min(xs), max(ys) - min(ys)
    return (min(xs), min(ys), width, height) if width > 0 and height > 0 else None
