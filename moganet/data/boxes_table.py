"""Boxes of a table, a row a box: image, four numbers, class; a row with an image alone is one in which nothing lies.

The four columns are known by their usual names, or said: `table:boxes.csv?boxes=a,b,c,d&form=xywh&units=shares`. What
fits two readings is refused; what was taken for what is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from moganet.data.boxes_query import Asked
from moganet.data.boxes_raw import Fault, Form, RawImage, RawObject, RawSet, whole
from moganet.data.class_names import shown
from moganet.data.contents import ImageFile
from moganet.data.split_names import SplitName, split_of
from moganet.data.table_cells import as_text, clean_labels, is_missing
from moganet.data.table_columns import choose_columns
from moganet.data.table_images import find_images, is_empty
from moganet.data.table_read import Table
from moganet.errors import DataError

Columns = tuple[str, str, str, str]
USUAL: Mapping[Form, tuple[Columns, ...]] = {
    "xyxy": (
        ("x1", "y1", "x2", "y2"),
        ("xmin", "ymin", "xmax", "ymax"),
        ("x_min", "y_min", "x_max", "y_max"),
        ("x0", "y0", "x1", "y1"),
        ("left", "top", "right", "bottom"),
        ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
    ),
    "xywh": (
        ("x", "y", "w", "h"),
        ("x", "y", "width", "height"),
        ("left", "top", "width", "height"),
        ("xmin", "ymin", "width", "height"),
        ("x_min", "y_min", "width", "height"),
        ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
        ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ),
    "cxcywh": (
        ("cx", "cy", "w", "h"),
        ("xc", "yc", "w", "h"),
        ("x_center", "y_center", "width", "height"),
        ("x_center", "y_center", "w", "h"),
        ("center_x", "center_y", "width", "height"),
        ("xcenter", "ycenter", "width", "height"),
    ),
}
MEANT = {
    "xyxy": "left, top, right, bottom",
    "xywh": "left, top, width, height",
    "cxcywh": "middle's x and y, width, height",
}
SHOWN = 5  # columns, in a note


@dataclass(frozen=True)
class Chosen:
    """The columns of a box, in the order of their form."""

    columns: Columns
    form: Form


def box_columns(table: Table, asked: Asked) -> Chosen | None:
    """Find the four columns of boxes; None where a table has none.

    Raises DataError where two readings fit, or for columns that are not there.
    """
    said, form = asked.word("boxes"), asked.word("form")
    if said:
        return _named(table, said, form)
    plain = _plain_names(table)
    found = [
        Chosen(cast(Columns, tuple(plain[name] for name in names)), kind)
        for kind in get_args(Form)
        for names in USUAL[kind]
        if all(name in plain for name in names) and form in ("auto", kind)
    ]
    corners = [one for one in found if one.form == "xyxy"]
    # Where corners stand there, width and height are the image's.
    found = [one for one in found if one.form == "xyxy" or not corners or not {*one.columns[2:]} & _sizes(plain)]
    if len(found) > 1:
        two = " and ".join(f"{','.join(one.columns)} ({MEANT[one.form]})" for one in found[:2])
        raise DataError(
            f"{table.file} has two kinds of boxes: {two}; say which, as table:{table.file}?boxes="
            f"{','.join(found[0].columns)}&form={found[0].form}"
        )
    return found[0] if found else None


def _plain_names(table: Table) -> dict[str, str]:
    """Give the columns by their names without regard to case."""
    return {as_text(name).casefold(): name for name in table.header}


def _sizes(plain: Mapping[str, str]) -> set[str]:
    return {plain[name] for name in ("width", "height") if name in plain}


def _named(table: Table, said: str, form: str) -> Chosen:
    names = tuple(part.strip() for part in said.split(","))
    if len(names) != 4 or len(set(names)) < 4:
        raise DataError(f"boxes={said}: name four columns, as boxes=x1,y1,x2,y2")
    if lost := [name for name in names if name not in table.header]:
        raise DataError(f"{table.file} has no column {lost[0]!r}; it has {shown(table.header, 20)}")
    folded = tuple(name.casefold() for name in names)
    usual = [kind for kind in get_args(Form) if folded in USUAL[kind]]
    if form == "auto" and len(usual) != 1:
        forms = ", ".join(f"form={kind} ({meant})" for kind, meant in MEANT.items())
        raise DataError(f"boxes={said}: say what the four numbers are: {forms}")
    return Chosen(names, cast(Form, usual[0] if form == "auto" else form))


def has_usual_boxes(table: Table) -> bool:
    """Tell whether four columns of a table are a box's by their usual names."""
    plain = _plain_names(table)
    return any(plain.keys() >= {*names} for some in USUAL.values() for names in some)


def read_table_boxes(table: Table, asked: Asked) -> RawSet:
    """Read a table of boxes. Raises DataError where its columns can't be told."""
    chosen = box_columns(table, asked)
    if chosen is None:
        raise DataError(f"{table.file} has no columns of boxes; name them: table:{table.file}?boxes=x1,y1,x2,y2")
    roles = {role: asked.said[role] for role in ("path", "label", "split", "group") if role in asked.said}
    columns, _ = choose_columns(table, roles)
    raw = RawSet((), form=chosen.form, used=(table.file,), notes=[*table.notes])
    raw.faults += [Fault("file", str(table.file), fault) for fault in table.faults]
    rows = _Rows(table, columns, chosen)
    raw.relative = _relative(rows, asked, raw)
    _add_rows(rows, raw)
    used = {*columns.values(), *chosen.columns, *rows.sizes}
    unused = [name or "(without a name)" for name in table.header if name not in used]
    rest = f"; not used: {shown(unused)}" if unused else ""
    taken = ", ".join(f"{role} is {name[:40]!r}" for role, name in columns.items())
    what = f"boxes are {','.join(chosen.columns)} ({MEANT[chosen.form]}, in {'shares' if raw.relative else 'pixels'})"
    raw.notes.append(
        f"{table.file.name}: {taken}, {what}{rest}; choose otherwise by ?boxes=A,B,C,D&form=…&units=…, or "
        "?boxes=none for a class an image"
    )
    return raw


class _Rows:
    """A table's cells by what they are."""

    def __init__(self, table: Table, columns: Mapping[str, str], chosen: Chosen) -> None:
        self.table, self.columns = table, columns
        cells = list(table.column(columns["path"]))
        self.kept = [i for i, cell in enumerate(cells) if not is_empty(cell)]
        self.places = [table.places[i] for i in self.kept]
        self.nameless = [place for place, cell in zip(table.places, cells, strict=True) if is_empty(cell)]
        self.cells = [cells[i] for i in self.kept]
        names = table.class_names.get(columns["label"], ())
        read = clean_labels(list(table.column(columns["label"])), names)
        self.labels = [read.texts[i] for i in self.kept]
        sides = [list(table.column(name)) for name in chosen.columns]
        self.boxes = [[_number(side[i]) for side in sides] for i in self.kept]
        self.splits = self._texts("split")
        self.groups = self._texts("group")
        plain = _plain_names(table)
        self.sizes = [
            plain[name] for name in ("width", "height") if name in plain and plain[name] not in chosen.columns
        ]
        both = [list(table.column(name)) for name in self.sizes] if len(self.sizes) == 2 else []
        self.said = [_size(*(side[i] for side in both)) if both else None for i in self.kept]

    def _texts(self, role: str) -> list[str]:
        if role not in self.columns:
            return []
        cells = self.table.column(self.columns[role])
        return [as_text(cells[i]) for i in self.kept]


def _number(cell: Any) -> Any:
    """Give a cell as a number; None where it is empty, its text where it is none."""
    if cell is None or (isinstance(cell, str) and (not cell.strip() or is_missing(cell.strip()))):
        return None
    if isinstance(cell, bool):
        return str(cell)
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return str(cell)


def _size(width: Any, height: Any) -> tuple[Any, Any] | None:
    numbers = _number(width), _number(height)
    return None if None in numbers else whole(*numbers)


def _relative(rows: _Rows, asked: Asked, raw: RawSet) -> bool:
    """Tell whether the numbers are shares of the image: as said, else where all of them are at most 1."""
    units = asked.word("units")
    if units != "auto":
        return units == "shares"
    numbers = [side for box in rows.boxes for side in box if isinstance(side, float) and side == side]
    return bool(numbers) and all(-0.01 <= side <= 1.01 for side in numbers) and any(side % 1 for side in numbers)


def _add_rows(rows: _Rows, raw: RawSet) -> None:
    """Put each row's box to its image."""
    table = rows.table
    raw.faults += [Fault("file", str(table.file), f"{place} names no image") for place in rows.nameless]
    files, notes = find_images(table.file, rows.columns["path"], rows.cells, rows.places)
    raw.notes += [note for note in notes if " do not exist" not in note]
    classes = sorted({label for label in rows.labels if not is_missing(label)})
    if not classes:
        raise DataError(f"no row of {table.file} has a class in its {rows.columns['label']!r}; at least one must")
    raw.class_names = tuple(classes)
    places = {name: place for place, name in enumerate(classes)}
    images: dict[tuple[ImageFile, SplitName], RawImage] = {}
    for i, file in enumerate(files):
        split = _split(rows, i, raw)
        image = images.get((file, split))
        if image is None:
            there = file if not isinstance(file, Path) or file.is_file() else None
            image = images[file, split] = RawImage(there, file.name, split, str(table.file), said=rows.said[i])
            image.group = rows.groups[i] if rows.groups else None
            raw.images.append(image)
        box, label = rows.boxes[i], rows.labels[i]
        nothing = all(side is None for side in box)
        if nothing and is_missing(label):
            continue
        known: int | str = places.get(label, "a row without a class")
        one = RawObject(rows.places[i], known, None if nothing else box)
        if None in box:
            one.wrong = ("numbers", "it has a class and no box" if nothing else "its box lacks a number")
        image.objects.append(one)


def _split(rows: _Rows, row: int, raw: RawSet) -> SplitName:
    if not rows.splits:
        return "train"
    found = split_of(rows.splits[row])
    if found is None:
        column, table, said = rows.columns["split"], rows.table, rows.splits[row][:80]
        raise DataError(
            f"{rows.places[row]} of {table.file} has the split {said!r}; it must be train, val or test; "
            f"to leave the column {column!r} out: table:{table.file}?split=none"
        )
    return found
