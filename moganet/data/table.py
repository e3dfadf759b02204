"""A table of labelled image files, CSV or Parquet: a row an image, with columns for path and label.

Whatever can't be used as it is, is a fault; the table is read on, so that the doctor names every fault.

Optional columns divide it: `split` (train, val, test), or `group` (a patient, a plant, a film: what must not stand on
both sides of a split). Columns are recognised by their names or named in the specification:
`table:labels.csv?label=species&group=plant`; `?split=none` leaves one out. A Parquet file may hold the images itself.
Any number of labels an image is asked for by `?labels=` (`table_labels.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from moganet.data.boxes import open_box_table
from moganet.data.contents import ImageFile
from moganet.data.findings import Finding, UnusableDataError
from moganet.data.leaks import find_torn_groups
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS, split_of
from moganet.data.table_cells import as_text, is_missing
from moganet.data.table_columns import COLUMNS, LabelColumns, choose_columns, divide, read_query
from moganet.data.table_images import find_images, is_empty
from moganet.data.table_labels import Names, RowLabels, guarded, joined, read_labels, shown, targets_of
from moganet.data.table_read import Table, read_table
from moganet.errors import DataError

SHOWN = 5  # of a list, in a message
MOST_WORDS = 20  # that a column of splits has


@dataclass
class _Rows:
    """The rows of a table that are images: a list for each role, what a person should hear of them, what is wrong."""

    places: list[str]
    labels: list[Names]
    splits: list[str]
    groups: list[str] | None
    images: list[ImageFile]
    notes: list[str]
    faults: list[str]


def open_table(path: str | None) -> Dataset:
    """Open a table; relative image paths start at the table's folder.

    Raises UnusableDataError, with all faults and what can be looked at, where rows contradict it or one another.
    """
    if not path:
        raise DataError("the source 'table' needs a path: --data table:labels.csv")
    file, query = divide(path)
    table = read_table(file)
    if (boxes := open_box_table(table, query)) is not None:
        return boxes
    asked = read_query("&".join(part for part in query.split("&") if part != "boxes=none"))
    columns, labels = choose_columns(table, asked)
    read = read_labels(table, labels, asked.get("missing", "refuse"))
    rows = _read_rows(table, columns, labels, read, skips=asked.get("missing") == "skip")
    kept = _without_repeated(table, rows, joins=labels.several and not labels.one_each)
    class_names = tuple(sorted({*read.known, *chain(*rows.labels)}))
    if not class_names:
        raise DataError(f"no row of {table.file} has a label in its {labels}; at least one must")
    whole = FileSplit(rows.images, targets_of(rows.labels, class_names, several=labels.several), groups=rows.groups)
    places = {name: [i for i in kept if rows.splits[i] == name] for name in SPLITS}
    parts: dict[str, Split] = {name: whole.subset(chosen) for name, chosen in places.items() if chosen}
    dataset = Dataset(f"table:{table.file.absolute()}" + (f"?{query}" if query else ""), class_names, parts)
    guessed = any(role not in asked and role != name for role, name in columns.items())
    used = {*columns.values(), *labels.names}
    described = [_describe(table, columns, labels, dataset)] if guessed or len(used) < len(table.header) else []
    described += [] if "split" in columns or "split" in asked else _unused_splits(table, used)
    torn, leaks = _torn(columns, dataset)
    over = [note for note in (*table.notes, *rows.notes) if note.startswith("passed over")]
    faults = [Finding("structure", dataset.spec, fault) for fault in rows.faults]
    if len(class_names) == 1 and not labels.several:
        alone = f"{table.file} has one class, {class_names[0]!r}, where a classifier needs two"
        leaks = (*leaks, Finding("one-class", dataset.spec, alone))
    findings = (*faults, *(Finding("passed-over", dataset.spec, note) for note in over), *leaks)
    dataset = replace(dataset, notes=(*described, *table.notes, *rows.notes, *torn), findings=findings)
    if faults:
        raise UnusableDataError(faults, dataset)
    return dataset


def _read_rows(
    table: Table, columns: Mapping[str, str], labels: LabelColumns, read: RowLabels, *, skips: bool
) -> _Rows:
    """Read the rows that have an image and are labelled; skips: others are left out, and are no fault."""
    notes, faults = read.notes, [*table.faults, *read.faults]
    cells = table.column(columns["path"])
    no_image = guarded(table, columns["path"], lambda: [i for i, cell in enumerate(cells) if is_empty(cell)])
    empty = {"label": read.without, "path": no_image}
    for role, places in empty.items():
        if places and not skips:
            words = sorted(set(read.words) - {""}) if role == "label" else []
            name = columns["path"] if role == "path" else ", ".join(labels.names)[:40]
            fault = _without(table, name, [table.places[i] for i in places], words)
            none = "; an empty cell is an image without any" if words and labels.several and not labels.one_each else ""
            faults.append(fault + none)
        elif places:
            notes.append(f"passed over: {len(places):,} rows of {table.file.name} without a {role}")
    kept = sorted({*range(len(read.rows))} - {i for places in empty.values() for i in places})
    if not kept:
        raise DataError(faults[0] if faults else f"no row of {table.file} has both an image and a label")
    rows = [read.rows[i] for i in kept]
    splits, said = _splits(table, columns, kept, faults)
    unseen = _classes_without_training(table, rows, splits)
    if labels.several:
        notes += [f"{one}; they can't be learned" for one in unseen]
    else:
        faults += [f"{one}; add or remove them" for one in unseen]
    groups, alone = _groups(table, columns, kept)
    named = [table.places[i] for i in kept]
    images, found = find_images(table.file, columns["path"], [cells[i] for i in kept], named)
    notes += [*said, *alone, *found]
    return _Rows(named, rows, splits, groups, images, notes, faults)


def _without(table: Table, column: str, places: Sequence[str], words: Sequence[str]) -> str:
    named = f" ({', '.join(map(repr, words[:SHOWN]))} says that there is none)" if words else ""
    return (
        f"{table.file} has {len(places):,} rows without {_a(column)}, {_shortened(places)}{named}; fill it in, or "
        f"leave them out: table:{table.file}?missing=skip"
        + (" (missing=class takes such words as a class)" if words else "")
    )


def _a(word: str) -> str:
    return f"an {word}" if word[:1].lower() in tuple("aeiou") else f"a {word}"


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(name[:80] for name in names[:SHOWN])
    return f"{shown}, …" if len(names) > SHOWN else shown


def _splits(
    table: Table, columns: Mapping[str, str], kept: Sequence[int], faults: list[str]
) -> tuple[list[str], list[str]]:
    """Give the split of each row, and a note where a name is another than the split's own."""
    if "split" not in columns:
        return ["train"] * len(kept), []
    column = columns["split"]
    words = _texts(table, column, kept)
    meant = {word: split_of(word) for word in dict.fromkeys(words)}
    off = f"to leave the column {column!r} out: table:{table.file}?split=none"
    splits: list[str] = [meant[word] or "train" for word in words]
    values = _shortened([word or "(nothing)" for word in sorted(meant)])
    if unknown := [(i, word) for i, word in zip(kept, words, strict=True) if meant[word] is None]:
        more = f" (and {len(unknown) - 1:,} more rows)" if len(unknown) > 1 else ""
        faults.append(
            f"{table.places[unknown[0][0]]} of {table.file} has the split {unknown[0][1][:80]!r}{more}; it must be "
            f"train, val or test (the column has {values}); {off}"
        )
    if "train" not in splits:
        faults.append(f"{table.file} has no row whose {column} is 'train'; it has {values}; {off}")
    others = [f"{word[:80]} as {split}" for word, split in meant.items() if split and word.casefold() != split]
    return splits, [
        f"splits of {table.file.name} are taken by their names: {_shortened(others)}; {off}"
    ] if others else []


def _texts(table: Table, name: str, kept: Sequence[int]) -> list[str]:
    cells = table.column(name)
    return guarded(table, name, lambda: [as_text(cells[i]) for i in kept])


def _unused_splits(table: Table, used: set[str]) -> list[str]:
    """Name the columns that are not used, but hold nothing but names of splits."""
    said = []
    for name in [name for name in table.texts if name not in used and table.header.count(name) == 1]:
        words = {as_text(cell) for cell in table.column(name)}
        meant = {split_of(word) for word in words} if len(words) <= MOST_WORDS else {None}
        if len(meant) > 1 and None not in meant:
            said.append(
                f"the column {name!r} of {table.file.name} has names of splits ({_shortened(sorted(words))}) and is "
                f"not used; divide by it with table:{table.file}?split={name}"
            )
    return said


def _groups(table: Table, columns: Mapping[str, str], kept: Sequence[int]) -> tuple[list[str] | None, list[str]]:
    if "group" not in columns:
        return None, []
    words = _texts(table, columns["group"], kept)
    alone = sum(map(is_missing, words))
    groups = [f"\0{i}" if is_missing(word) else word for i, word in zip(kept, words, strict=True)]
    said = f"{alone:,} images of {table.file.name} have no {columns['group']!r}: each is a group of its own"
    return groups, [said] if alone else []


def _without_repeated(table: Table, rows: _Rows, *, joins: bool) -> list[int]:
    """Give the rows without those that name an image again; where they contradict one another is a fault.

    joins: they do not, but each adds its labels to the image's.
    """
    if joins:
        rows.labels, number = joined(rows.labels, rows.images)
        said = f"{number:,} images of {table.file.name} stand in several rows, and have the labels of all of them"
        rows.notes += [said] if number else []
    first_of: dict[tuple[ImageFile, str], int] = {}
    contrary: list[str] = []
    label_of: dict[ImageFile, int] = {}
    for i, image in enumerate(rows.images):
        first = label_of.setdefault(image, i)
        if rows.labels[first] != rows.labels[i]:
            contrary.append(
                f"{str(image)[-80:]} is {shown(rows.labels[first])} in {rows.places[first]} and "
                f"{shown(rows.labels[i])} in {rows.places[i]}"
            )
        first_of.setdefault((image, rows.splits[i]), i)
    if contrary:
        rows.faults.append(f"{table.file} gives {len(contrary):,} images two labels: {contrary[0]}; remove one of each")
    if (repeated := len(rows.images) - len(first_of)) and not (joins and number):
        rows.notes.append(f"passed over: {repeated:,} rows of {table.file.name} that repeat another row's image")
    if torn := len(first_of) - len(label_of):
        rows.notes.append(f"{torn:,} images of {table.file.name} stand in two splits, so that figures of these flatter")
    return list(first_of.values())


def _classes_without_training(table: Table, labels: Sequence[Names], splits: Sequence[str]) -> list[str]:
    classes = {
        name: {one for names, split in zip(labels, splits, strict=True) if split == name for one in names}
        for name in SPLITS
    }
    return [
        f"{table.file} has classes in {name} that train lacks: {_shortened(unseen)}"
        for name in SPLITS
        if classes["train"] and (unseen := sorted(classes[name] - classes["train"]))
    ]


def _describe(table: Table, columns: Mapping[str, str], labels: LabelColumns, dataset: Dataset) -> str:
    """Say what the columns were taken for."""
    taken = ", ".join(f"{role} is {name[:40]!r}" for role, name in columns.items())
    taken += f", labels are {labels}" if labels.several else ""
    used = {*columns.values(), *labels.names}
    unused = [name or "(without a name)" for name in table.header if name not in used]
    rest = f"; not used: {_shortened(unused)}" if unused else ""
    counts = ", ".join(f"{name} {len(split):,}" for name, split in dataset.splits.items())
    return f"{table.file.name}: {taken}{rest}; choose with ?{'=…&'.join(COLUMNS)}=…; images: {counts}"


def _torn(columns: Mapping[str, str], dataset: Dataset) -> tuple[list[str], tuple[Finding, ...]]:
    """Give a note and findings for the groups that the table's own splits tear apart."""
    torn = find_torn_groups(dataset)
    if not torn:
        return [], ()
    column = columns["group"]
    group, splits = next(iter(torn.items()))
    said = (
        f"{len(torn):,} groups ({column}) stand in more than one split, {group[:40]!r} in {' and '.join(splits)}, so "
        "that figures of these flatter; divide by group with ?split=none"
    )
    return [said], tuple(
        Finding("group-leak", dataset.spec, f"{column} {one[:80]!r} stands in {' and '.join(names)}")
        for one, names in torn.items()
    )
