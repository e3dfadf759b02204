"""Which column of a table is what: by their usual names, or as the specification says (`?label=species&split=none`)."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from PIL import Image

from moganet.data.table_cells import as_text
from moganet.data.table_read import Table
from moganet.errors import DataError
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
OFF = ("", "none")  # what leaves out a column that is not required
MISSING = ("refuse", "skip", "class")  # what becomes of a row without a label: the first is the default


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
        if key not in (*COLUMNS, "missing"):
            raise DataError(f"{key!r} is nothing that a table's column can be; known: {', '.join(COLUMNS)}, missing")
        if key in asked:
            raise DataError(f"the table's {key} is named twice, as {asked[key]!r} and {value!r}; name it once")
        asked[key] = value
    if asked.get("missing", "refuse") not in MISSING:
        raise DataError(f"missing={asked['missing']} is unknown; known: {', '.join(MISSING)}")
    return asked


def choose_columns(table: Table, asked: Mapping[str, str]) -> dict[str, str]:
    """Give the column of each role that the table has. Raises DataError where that can't be told."""
    found: dict[str, str] = {}
    for role, usual in COLUMNS.items():
        if role in asked:
            same = _named(table, role, asked[role])
        else:
            same = next((same for one in usual if (same := [h for h in table.header if _plain(h) == one])), [])
        if len(same) > 1:
            raise DataError(
                f"{table.file} has {len(same)} columns called {same[0]!r}, in one spelling or another; "
                f"rename all but one, or say which is the {role}: table:{table.file}?{role}=COLUMN"
            )
        if same:
            found[role] = same[0]
        elif role in REQUIRED:
            raise DataError(_no_column(table, role))
    return found


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
    raise DataError(f"{table.file} has no column {asked!r}; it has {_listed(table)}")


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
