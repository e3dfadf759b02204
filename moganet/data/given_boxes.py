"""Boxes that a person gives for images: a table, COCO's JSON, or COCO's list of results; no torch.

A table has a row a box: the image's file, and x, y, width, height or the corners, in pixels, and perhaps a score. An
image is known by its path, as it stands or seen from the file's folder, else by its name where that is one image's.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.class_names import shown
from moganet.data.table_columns import COLUMNS, usual_column
from moganet.data.table_read import Table, read_table
from moganet.errors import DataError
from moganet.files import read_small
from moganet.notices import say
from moganet.numbers import count

LIMIT = 1 << 30  # bytes of a JSON file
WHOLE = "whole"  # the word for a box that is the whole image
SIDES = (  # the columns of a box: by which names, and whether the last two are corners
    (("box_x", "box_y", "box_width", "box_height"), False),
    (("x", "y", "width", "height"), False),
    (("x", "y", "w", "h"), False),
    (("left", "top", "width", "height"), False),
    (("x1", "y1", "x2", "y2"), True),
    (("xmin", "ymin", "xmax", "ymax"), True),
    (("left", "top", "right", "bottom"), True),
)
SCORES = ("score", "box_score", "confidence", "probability")
PERSON = 1  # COCO's number of the category
Rows = list[tuple[float, ...]]  # x, y, width, height, score


@dataclass(frozen=True)
class GivenBoxes:
    """Boxes by what names an image in a file: its path or name there, or its number in a list of results."""

    file: Path
    rows: Mapping[str, Rows]

    def of(self, names: Sequence[str], ids: Sequence[int] | None = None) -> list[NDArray[np.float64]]:
        """Give the boxes (N, 5) of images by their names. Raises DataError where none has any; says which have none.

        ids: numbers that a data set gives the images; None is the number that an image's name is, where it is one.
        """
        known, own = self._by_path(), Counter(PurePath(key).name for key in self.rows)
        numbers = {int(key): key for key in self.rows if key.isascii() and key.isdigit()}
        twice = Counter(PurePath(name).name for name in names)
        found, used = [], set[str]()
        for place, name in enumerate(names):
            key = known.get(str(Path(name).absolute()))
            bare = PurePath(name).name
            if key is None and own[bare] == 1 and twice[bare] == 1:
                key = next(one for one in self.rows if PurePath(one).name == bare)
            number = PurePath(name).stem if ids is None else str(ids[place])
            if key is None and number.isascii() and number.isdigit():
                key = numbers.get(int(number))
            used |= {key} if key is not None else set()
            rows = self.rows.get(key or "", [])
            found.append(np.array(rows, np.float64).reshape(-1, 5))
        self._say(names, found, used)
        return found

    def _by_path(self) -> dict[str, str]:
        folders = (Path.cwd(), self.file.absolute().parent)
        places = {str((folder / key).absolute()): key for folder in reversed(folders) for key in self.rows}
        return {**places, **{key: key for key in self.rows}}

    def _say(self, names: Sequence[str], found: Sequence[NDArray[np.float64]], used: set[str]) -> None:
        without = [name for name, boxes in zip(names, found, strict=True) if not len(boxes)]
        rest = [key for key in self.rows if key not in used]
        if names and len(without) == len(names):
            there = f"it names {shown(rest)}" if rest else "it names none"
            raise DataError(f"{self.file} has no box in any of the {len(names)} images ({names[0]}, …): {there}")
        if without:
            say(f"{count(len(without), 'image')} of {len(names)} have no box in {self.file}: {shown(without)}")
        if rest:
            what = f"the boxes of {count(len(rest), 'image')} in {self.file} that were not named"
            say(f"passed over: {what} ({shown(rest)})")


def read_boxes(file: Path) -> GivenBoxes:
    """Read boxes. Raises DataError that names the row or entry where something is wrong."""
    if file.suffix.lower() in (".json", ".jsonl"):
        return GivenBoxes(file, _of_json(file))
    return GivenBoxes(file, _of_table(file, read_table(file)))


def _of_table(file: Path, table: Table) -> dict[str, Rows]:
    plain = {name.strip().casefold(): name for name in table.header}
    path = usual_column(table, "path", required=False)
    sides = next(((names, corners) for names, corners in SIDES if {*names} <= {*plain}), None)
    if path is None or sides is None:
        lacking = "no column of the image's file" if path is None else "no columns of boxes: x, y, width, height"
        known = f"{', '.join(COLUMNS['path'][:3])}; x,y,width,height or x1,y1,x2,y2; {SCORES[0]}"
        raise DataError(f"{file} has {lacking}; known names: {known} (it has {', '.join(table.header)[:200]})")
    if table.faults:
        raise DataError(table.faults[0])
    names, corners = sides
    columns = [table.column(plain[name]) for name in names]
    classes = [str(cell) for cell in table.column(plain["name"])] if "name" in plain else []
    is_person = [name == "person" for name in classes] if "person" in classes else [True] * len(table.places)
    score = next((table.column(plain[name]) for name in SCORES if name in plain), [1.0] * len(table.places))
    if others := is_person.count(False):
        say(f"passed over: {count(others, 'row')} of {file} of no person")
    found: dict[str, Rows] = {}
    seen = set[tuple[str, tuple[float, ...]]]()
    rows = zip(is_person, table.places, table.column(path), score, *columns, strict=True)
    for _, place, image, told, *cells in (row for row in rows if row[0]):
        row = _box([*cells, told], f"{place} of {file}", corners=corners)
        if (str(image), row) not in seen:  # a table of key points has a row for each of a box's
            seen.add((str(image), row))
            found.setdefault(str(image), []).append(row)
    return found


def _box(cells: Sequence[Any], where: str, *, corners: bool) -> tuple[float, ...]:
    try:
        x, y, third, fourth, score = (float(cell) for cell in cells)
    except (TypeError, ValueError):
        raise DataError(f"{where} has a box that is no numbers: {str(list(cells))[:80]}; mend it") from None
    width, height = (third - x, fourth - y) if corners else (third, fourth)
    if not all(map(math.isfinite, (x, y, width, height, score))) or width <= 0 or height <= 0:
        raise DataError(f"{where} has a box without an area: {str(list(cells))[:80]}; mend it, or leave it out")
    return x, y, width, height, score


def _of_json(file: Path) -> dict[str, Rows]:
    try:
        text = read_small(file, LIMIT)
        plain = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if file.suffix == ".jsonl"
            else json.loads(text)
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is no JSON: {error}") from None
    try:
        return _of_rows(file, plain) if isinstance(plain, list) else _of_annotations(file, plain)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:80]
        raise DataError(f"{file} is neither COCO's annotations nor a list of its results: {what}") from None


def _of_rows(file: Path, entries: Sequence[Any]) -> dict[str, Rows]:
    """Read a list of results: image_id (or the file's name), bbox and score, of persons where categories are told."""
    found: dict[str, Rows] = {}
    others = 0
    for place, one in enumerate(entries):
        if one.get("category_id", PERSON) != PERSON:
            others += 1
            continue
        key = one["file_name"] if "file_name" in one else one["image_id"]
        row = _box([*one["bbox"], one.get("score", 1.0)], f"entry {place} of {file}", corners=False)
        found.setdefault(str(key), []).append(row)
    if others:
        say(f"passed over: {count(others, 'result')} in {file} of no person (category_id {PERSON})")
    return found


def _of_annotations(file: Path, plain: Mapping[str, Any]) -> dict[str, Rows]:
    """Read annotations: those of the category "person" where there is one, else of the only one."""
    names = {one["id"]: one["file_name"] for one in plain["images"]}
    categories = {one["id"]: one["name"] for one in plain.get("categories", ())}
    persons = [number for number, name in categories.items() if str(name).lower() == "person"]
    if len(categories) > 1 and not persons:
        raise DataError(f"{file} has boxes of {shown(map(str, categories.values()))}, and none called person")
    found: dict[str, Rows] = {}
    for one in plain["annotations"]:
        if not one.get("iscrowd") and (not persons or one["category_id"] in persons) and one.get("num_keypoints", 1):
            row = _box([*one["bbox"], one.get("score", 1.0)], f"annotation {one.get('id')} of {file}", corners=False)
            found.setdefault(str(names[one["image_id"]]), []).append(row)
    return found
