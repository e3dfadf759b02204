"""Which column of a table is what: by their usual names, or as the specification says (`?label=species&split=none`)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from PIL import Image

from moganet.data.table_cells import as_text
from moganet.data.table_read import Table
from moganet.errors import DataError, choose_of, did_you_mean
from moganet.files import typed_path

COLUMNS = {
    "path": (
        *("path", "file", "filename", "filepath", "image", "image_path", "file_name", "file_path", "img", "img_path"),
        *("image_file", "image_name"),
    ),
    "label": ("label", "class", "target", "category", "species", "labels", "label_name", "class_name"),
    "split": ("split", "subset", "fold", "set"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}
REQUIRED = ("path", "label")
SEVERAL = "labels"  # asks for any number of classes an image, in one column or in several
OFF = ("", "none")  # what leaves out a column that is not required
MISSING = ("refuse", "skip", "class")  # what becomes of a row without a label: the first is the default


@dataclass(frozen=True)
class LabelColumns:
    """The columns of labels. several: a row may have any number of classes. one_each: a column is a class."""

    names: tuple[str, ...]
    several: bool = False
    one_each: bool = False

    def __str__(self) -> str:
        first, last = self.names[0][:40], self.names[-1][:40]
        return repr(first) if len(self.names) == 1 else f"{len(self.names)} columns from {first!r} to {last!r}"


def divide(specification: str) -> tuple[Path, str]:
    """Divide a specification into the table's path, which may hold a question mark, and what is asked of it."""
    marks = [i for i, letter in enumerate(specification) if letter == "?"]
    ends = [len(specification), *reversed(marks)]
    end = next((i for i in ends if typed_path(specification[:i]).is_file()), marks[0] if marks else ends[0])
    return typed_path(specification[:end]), specification[end + 1 :]


def read_query(query: str) -> dict[str, str]:
    """Read `label=species&missing=skip`. Raises DataError for what is unknown or named twice."""
    asked: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in (known := (*COLUMNS, SEVERAL, "missing")):
            raise DataError(f"{key!r} is nothing that a table's column can be; {choose_of(key, known)}")
        if key in asked:
            raise DataError(f"the table's {key} is named twice, as {asked[key]!r} and {value!r}; name it once")
        asked[key] = value
    if {"label", SEVERAL} <= asked.keys():
        raise DataError("a table has one label an image (?label=) or any number (?labels=); name one of the two")
    if asked.get("missing", "refuse") not in MISSING:
        raise DataError(f"missing={asked['missing']} is unknown; known: {', '.join(MISSING)}")
    return asked


def choose_columns(table: Table, asked: Mapping[str, str]) -> tuple[dict[str, str], LabelColumns]:
    """Give the column of each role that the table has, and those of labels. Raises DataError where that can't be told.

    Where one label an image is looked for, its column has a role too.
    """
    labels = None if SEVERAL not in asked else _several(table, asked[SEVERAL])
    found: dict[str, str] = {}
    for role in COLUMNS if labels is None else [role for role in COLUMNS if role != "label"]:
        same = _same(table, role, asked, () if labels is None else labels.names)
        if same:
            found[role] = _only(table, role, same)
        elif role in REQUIRED:
            raise DataError(_no_column(table, role))
    return found, labels or LabelColumns((found["label"],))


def usual_column(table: Table, role: str, *, required: bool = True) -> str | None:
    """Give the column that has a role by its usual names. Raises DataError where it is required and can't be told."""
    same = _same(table, role, {}, ())
    if not same and required:
        raise DataError(_no_column(table, role))
    return _only(table, role, same) if same else None


def _several(table: Table, asked: str) -> LabelColumns:
    """Give the columns that are asked for as `one`, or as `a,b,c`: a column a class."""
    if "," not in asked or asked in table.header:
        return LabelColumns((_only(table, SEVERAL, _named(table, "label", asked)),), several=True)
    parts = [part for part in asked.split(",") if part]
    if not parts:
        raise DataError(f"?{SEVERAL}={asked} names no column; {table.file} has {_listed(table)}")
    names = tuple(_only(table, SEVERAL, _named(table, "label", part)) for part in parts)
    if len(set(names)) < len(names):
        raise DataError(f"?{SEVERAL}={asked[:100]} names a column twice; name each once")
    return LabelColumns(names, several=True, one_each=True)


def _same(table: Table, role: str, asked: Mapping[str, str], taken: Collection[str]) -> list[str]:
    """Give the columns of one name, but for its spelling, that a role has by what is asked or by usual names."""
    if role in asked:
        return _named(table, role, asked[role])
    free = [name for name in table.header if name not in taken]
    return next((same for one in COLUMNS[role] if (same := [name for name in free if _plain(name) == one])), [])


def _only(table: Table, role: str, same: list[str]) -> str:
    if len(same) > 1:
        raise DataError(
            f"{table.file} has {len(same)} columns called {same[0]!r}, in one spelling or another; "
            f"rename all but one, or say which is the {role}: table:{table.file}?{role}=COLUMN"
        )
    return same[0]


def _plain(name: str) -> str:
    return as_text(name).casefold()


def _listed(table: Table) -> str:
    return ", ".join(name[:40] for name in table.header)[:400]


def _named(table: Table, role: str, asked: str) -> list[str]:
    for name in (asked, unquote(asked), unquote_plus(asked)):
        if same := [h for h in table.header if h == name] or [h for h in table.header if as_text(h) == as_text(name)]:
            return same
    if role not in REQUIRED and asked in OFF:
        return []
    raise DataError(f"{table.file} has no column {asked!r}; {did_you_mean(asked, table.header)}it has {_listed(table)}")


def _no_column(table: Table, role: str) -> str:
    first = next((name for name in table.header if _names_image(table.file.parent, name)), None)
    if first is not None:
        return f"{table.file} has no header: its first line names an image ({first[:80]}); write path,label above it"
    return (
        f"can't tell which column of {table.file} is the {role}; say it as table:{table.file}?{role}=COLUMN "
        f"(it has {_listed(table)})"
    )


def _names_image(folder: Path, name: str) -> bool:
    return Path(name).suffix.lower() in Image.registered_extensions() or (name != "" and (folder / name).is_file())
