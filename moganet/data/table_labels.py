"""What the rows of a table are labelled with: one class each, or any number of them.

Several classes stand in one cell (`?labels=tags`: "cat|dog", or a list of Parquet's), and an empty cell is an image
without any; or each class has a column (`?labels=cat,dog`), with 0 or 1, yes or no, true or false in it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch

from moganet.data.table_cells import as_text, clean_labels, is_missing
from moganet.data.table_columns import LabelColumns
from moganet.data.table_read import Table
from moganet.data.targets import ClassIndices, ClassSets, TensorTargets
from moganet.errors import DataError

BETWEEN = "|;,"  # what may stand between the names in a cell: the first that the column has
YES, NO = frozenset(("1", "1.0", "yes", "true")), frozenset(("0", "0.0", "no", "false"))
Names = tuple[str, ...]  # of a row's classes
Result = TypeVar("Result")


@dataclass
class RowLabels:
    """The labels of a table's rows, what a person should hear of them, and what is wrong with them.

    rows: the names of each row's classes. without: the rows that are not known to have any or none. words: what they
    say instead. known: classes that are there whether or not a row has them.
    """

    rows: list[Names]
    without: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    known: Names = ()
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_labels(table: Table, columns: LabelColumns, missing: str) -> RowLabels:
    """Read the labels of all rows; what becomes of words that say that there is none, `missing` says."""
    if columns.one_each:
        return _one_column_a_class(table, columns.names)
    name = columns.names[0]
    if not columns.several:
        texts, notes = _cleaned(table, name, table.column(name))
        without = [i for i, text in enumerate(texts) if not text or (missing != "class" and is_missing(text))]
        return RowLabels([(text,) for text in texts], without, [texts[i] for i in without], notes=notes)
    parts, notes = _divided(table, name)
    texts, respelled = _cleaned(table, name, [part for row in parts for part in row])
    rest = iter(texts)
    rows = [tuple(sorted({next(rest) for _ in row} - {""})) for row in parts]
    words = [[text for text in row if missing != "class" and is_missing(text)] for row in rows]
    without = [i for i, said in enumerate(words) if said]
    if empty := sum(not row for row in rows):
        notes.append(f"{empty:,} of {len(rows):,} rows of {table.file.name} have no label: their cells are empty")
    return RowLabels(rows, without, [*chain(*words)], notes=[*notes, *respelled])


def _cleaned(table: Table, name: str, cells: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Give labels in one spelling, and a note where some are written otherwise."""
    texts, respelled = guarded(table, name, lambda: clean_labels(cells, table.class_names.get(name, ())))
    notes = []
    if respelled:
        before, after = respelled[0]
        notes.append(
            f"{len(respelled):,} labels of {table.file.name} are taken in another spelling (no spaces around them, "
            f"composed letters, 1 for 1.0), first {before[:40]!a} as {after[:40]!a}"
        )
    return texts, notes


def guarded(table: Table, name: str, read: Callable[[], Result]) -> Result:
    """Read a column; what it can't be read as is said of it."""
    try:
        return read()
    except DataError as error:
        raise DataError(f"the column {name!r} of {table.file} {error}") from None


def _divided(table: Table, name: str) -> tuple[list[list[Any]], list[str]]:
    """Give the parts of each cell, and a note where it is a guess what stands between them."""
    cells = table.column(name)
    texts = guarded(table, name, lambda: [None if isinstance(cell, list) else _text(cell) for cell in cells])
    between = next((sign for sign in BETWEEN if any(sign in text for text in texts if text)), None)
    parts = [
        list(cell) if text is None else [part.strip(" ") for part in text.split(between)] if between else [text]
        for cell, text in zip(cells, texts, strict=True)
    ]
    words = {as_text(text).casefold() for text in texts if text}
    notes = []
    if between not in (BETWEEN[0], None):
        notes.append(f"labels of {table.file.name} are divided by {between!r}: its {name!r} has no {BETWEEN[0]!r}")
    if words and words <= YES | NO:
        more = f"if it is one class that an image has or not, say ?labels={name}, with the comma"
        notes.append(f"{name!r} of {table.file.name} has classes called {' and '.join(sorted(words))}; {more}")
    return parts, notes


def _text(cell: Any) -> str:
    """Give a cell as it is written, "" where nothing is."""
    return cell if isinstance(cell, str) and as_text(cell) else as_text(cell)


def _one_column_a_class(table: Table, names: Sequence[str]) -> RowLabels:
    """Read columns that say of each row whether it has the class."""
    found = RowLabels([], known=tuple(sorted(as_text(name) for name in names)))
    has: list[list[str]] = [[] for _ in table.places]
    without, odd = set[int](), list[str]()
    for name in names:
        words = guarded(table, name, lambda name=name: [as_text(cell).casefold() for cell in table.column(name)])  # type: ignore[misc]
        for i, word in enumerate(words):
            if word in YES:
                has[i].append(as_text(name))
            elif is_missing(word):
                without.add(i)
                found.words.append(word)
            elif word not in NO:
                odd.append(f"{table.places[i]} has {word[:40]!r} in {name[:40]!r}")
    found.rows, found.without = [tuple(sorted(row)) for row in has], sorted(without)
    if odd:
        more = f" (and {len(odd) - 1:,} more cells)" if len(odd) > 1 else ""
        found.faults.append(
            f"{odd[0]} of {table.file}{more}; a column a class must have 0 or 1, yes or no, true or false"
        )
    if len(set(found.known)) < len(names):
        raise DataError(f"the columns of {table.file} name {len(names)} classes, but some names are the same")
    return found


def joined(rows: Sequence[Names], images: Sequence[object]) -> tuple[list[Names], int]:
    """Give each image, wherever it stands again, the labels of all of its rows; and count those that this changes."""
    of_image: dict[object, set[str]] = {}
    for image, names in zip(images, rows, strict=True):
        of_image.setdefault(image, set()).update(names)
    changed = {image for image, names in zip(images, rows, strict=True) if of_image[image] != set(names)}
    return [tuple(sorted(of_image[image])) for image in images], len(changed)


def targets_of(rows: Sequence[Names], class_names: Names, *, several: bool) -> TensorTargets:
    """Give rows as numbers: a class a row, or rows of 0 and 1."""
    number = {name: i for i, name in enumerate(class_names)}
    if not several:
        return ClassIndices(torch.tensor([number[name] for (name,) in rows], dtype=torch.long))
    values = torch.zeros(len(rows), len(class_names), dtype=torch.uint8)
    places = [(i, number[name]) for i, names in enumerate(rows) for name in names]
    if places:
        values[tuple(torch.tensor(places).T)] = 1
    return ClassSets(values)


def shown(names: Iterable[str]) -> str:
    """Name a row's classes."""
    return repr("|".join(names)[:40])
