"""A table of labelled image files, CSV or Parquet: a row an image, with columns for path and label.

Optional columns divide it: `split` (train, val, test), or `group` (a patient, a plant, a film: what must not stand on
both sides of a split). Columns are recognised by their names or named in the specification:
`table:labels.csv?label=species&group=plant`.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

import torch

from moganet.data.source import Dataset, FileSplit, Split
from moganet.errors import DataError, MissingExtraError
from moganet.files import typed_path

COLUMNS = {
    "path": ("path", "file", "filename", "filepath", "image", "image_path"),
    "label": ("label", "class", "target", "category", "species"),
    "split": ("split", "subset", "fold", "set"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}
REQUIRED = ("path", "label")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
Rows = Sequence[Mapping[str, str]]


def open_table(path: str | None) -> Dataset:
    """Open a table; relative image paths start at the table's folder."""
    if not path:
        raise DataError("the source 'table' needs a path: --data table:labels.csv")
    name, _, query = path.partition("?")
    file = typed_path(name)
    rows = _read(file)
    columns = _columns(file, list(rows[0]), dict(parse_qsl(query)))
    labels = [row[columns["label"]] for row in rows]
    if any(not label for label in labels):
        raise DataError(
            f"{file} has a row without a {columns['label']} (row {labels.index('') + 2}); fill it in or remove it"
        )
    class_names = tuple(sorted(set(labels)))
    splits: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        splits.setdefault(_split_name(file, row, columns, index), []).append(index)
    if "train" not in splits:
        raise DataError(f"{file} has no row whose {columns['split']} is 'train'; found {', '.join(splits)}")
    _check_classes(file, splits, labels)
    order = [name for name in ("train", "val", "test") if name in splits]
    parts: dict[str, Split] = {name: _files(file, rows, columns, class_names, splits[name]) for name in order}
    spec = f"table:{file.absolute()}" + (f"?{query}" if query else "")
    return Dataset(spec, class_names, parts)


def _read(file: Path) -> Rows:
    if not file.is_file():
        raise DataError(f"there is no table {file}; give a CSV or Parquet file with the columns path and label")
    rows = _read_parquet(file) if file.suffix.lower() in (".parquet", ".pq") else _read_csv(file)
    if not rows:
        raise DataError(f"{file} has no rows; it needs a header and a row for each image")
    return rows


def _read_csv(file: Path) -> Rows:
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            sample = stream.read(4096)
            stream.seek(0)
            delimiter = max(",;\t", key=sample.partition("\n")[0].count)
            return [
                {key: value or "" for key, value in row.items() if key}
                for row in csv.DictReader(stream, delimiter=delimiter)
            ]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{file} is no CSV file in UTF-8 ({error}); save it as one") from None


def _read_parquet(file: Path) -> Rows:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet needs pyarrow: pip install 'moganet[table]', or save the table as CSV"
        ) from None
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is no Parquet file: {' '.join(str(error).split())[:200]}") from None
    return [{key: "" if value is None else str(value) for key, value in row.items()} for row in table.to_pylist()]


def _columns(file: Path, header: list[str], named: dict[str, str]) -> dict[str, str]:
    unknown = [key for key in named if key not in COLUMNS]
    if unknown:
        raise DataError(f"{unknown[0]!r} is nothing that a table's column can be; known: {', '.join(COLUMNS)}")
    lower = {name.strip().lower(): name for name in header}
    found: dict[str, str] = {}
    for role, usual in COLUMNS.items():
        if role in named and named[role] not in header:
            raise DataError(f"{file} has no column {named[role]!r}; it has {', '.join(header)}")
        name = named.get(role) or next((lower[name] for name in usual if name in lower), None)
        if name:
            found[role] = name
        elif role in REQUIRED:
            raise DataError(
                f"can't tell which column of {file} is the {role}; say it as table:{file}?{role}=COLUMN "
                f"(it has {', '.join(header)})"
            )
    return found


def _split_name(file: Path, row: Mapping[str, str], columns: dict[str, str], index: int) -> str:
    if "split" not in columns:
        return "train"
    name = row[columns["split"]].strip().lower()
    if name not in SPLIT_NAMES:
        raise DataError(f"row {index + 2} of {file} has the split {name!r}; it must be train, val or test")
    return SPLIT_NAMES[name]


def _check_classes(file: Path, splits: Mapping[str, list[int]], labels: list[str]) -> None:
    known = {labels[i] for i in splits["train"]}
    for name, indices in splits.items():
        if unseen := sorted({labels[i] for i in indices} - known):
            raise DataError(
                f"{file} has classes in {name} that train lacks: {', '.join(unseen[:5])}; add or remove them"
            )


def _files(
    file: Path, rows: Rows, columns: dict[str, str], class_names: tuple[str, ...], indices: list[int]
) -> FileSplit:
    number = {name: i for i, name in enumerate(class_names)}
    chosen = [rows[i] for i in indices]
    groups = tuple(row[columns["group"]] for row in chosen) if "group" in columns else None
    labels = torch.tensor([number[row[columns["label"]]] for row in chosen])
    return FileSplit([file.parent / row[columns["path"]] for row in chosen], labels, groups=groups)
