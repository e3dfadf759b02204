"""Data sets of Hugging Face's `datasets` as a source: `hub:NAME_OR_FOLDER`, what `save_to_disk` wrote, Parquet with
images in it, folders that it knows, and by its own loading what lies on the hub.

`?split=NAME` takes one of its splits alone, `?train=NAME&val=NAME&test=NAME` says which are these; `?label=COLUMN` and
`?image=COLUMN` name columns, `?config=NAME` one of several sets under a name; `?missing=skip` leaves out rows without a
class.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from moganet.data.contents import ImageFile
from moganet.data.hub_columns import Columns, Row, choose_columns, class_names_of, read_rows, targets_of
from moganet.data.paths import exists, is_file, path_and_query
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS, split_of
from moganet.data.within import Within
from moganet.errors import DataError, MogaNetError, choose_of, first_line, import_extra

KEYS = ("split", "train", "val", "test", "label", "image", "config", "missing")
TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk writes


class HubColumn:
    """The images of a split: its `datasets.Dataset` with the one column; equal where it is the same."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows, self.column = rows, column
        self.identity = (str(rows._fingerprint), column)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HubColumn) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)


class HubReader:
    """Reads the images of a split, by any thread in any order."""

    in_turn: ClassVar[bool] = False

    def __init__(self, path: Path, asked: HubColumn) -> None:
        self.asked = asked

    def read(self, place: int) -> bytes:
        """Give an encoded image. Raises DataError for a row without one."""
        found = self.asked.rows[place][self.asked.column]
        if found is None or (found.get("bytes") is None and not found.get("path")):
            raise DataError("its row has no image")
        return bytes(found["bytes"]) if found.get("bytes") is not None else Path(found["path"]).read_bytes()


def is_saved(folder: Path) -> bool:
    """Tell whether a folder is what `save_to_disk` wrote."""
    return any(is_file(folder / name) for name in SAVED) and (
        is_file(folder / SAVED[0]) or is_file(folder / "dataset_info.json")
    )


def open_hub(path: str | None) -> Dataset:
    """Open a data set by the package `datasets`.

    Raises MissingExtraError without it, DataError for what it can't load, and where columns leave a choice.
    """
    if not path:
        raise DataError("the source 'hub' needs a name or a folder: --data hub:OWNER/NAME")
    place, query = path_and_query(path)
    asked = _read_query(query)
    library = import_extra("datasets", f"hub:{path}", "scale")
    name = str(place.absolute()) if exists(place) else path.partition("?")[0]
    spec = f"hub:{name}" + (f"?{query}" if query else "")
    with _guarded(spec, library):
        loaded = _load(library, name, asked.get("config"))
    parts, notes = _parts(loaded, asked, spec)
    first = next(iter(parts.values()))
    columns, said = choose_columns(first.features, asked, spec)
    rows = {split: _rows(part, columns, spec) for split, part in parts.items()}
    kept = {split: _labelled(split, found, asked, spec, notes) for split, found in rows.items()}
    class_names = class_names_of(columns, [*chain.from_iterable(rows.values())])
    splits: dict[str, Split] = {
        split: _split(library, part, columns, (rows[split], kept[split], class_names), f"{name}/{split}")
        for split, part in parts.items()
        if kept[split]
    }
    if not splits:
        raise DataError(f"no image of {spec} has a class in {columns.label!r}; name its column: ?label=COLUMN")
    if "train" not in splits:
        notes.append(f"{spec} has no train; {next(iter(splits))} is taken for a set that is not divided")
        splits = {"train": next(iter(splits.values()))}
    return Dataset(spec, class_names, splits, notes=(*said, *notes))


def _read_query(query: str) -> dict[str, str]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if query and not asked:
        raise DataError(
            f"{query!r} says nothing of a data set of the hub; say one of {', '.join(KEYS)}, as label=COLUMN"
        )
    if unknown := [key for key in asked if key not in KEYS]:
        raise DataError(f"{unknown[0]!r} is nothing that the source 'hub' knows; {choose_of(unknown[0], KEYS)}")
    if asked.get("missing", "skip") != "skip":
        raise DataError(f"missing is {asked['missing']!r}; say missing=skip, or leave it out")
    if "split" in asked and {"train", "val", "test"} & asked.keys():
        raise DataError(
            "split= takes one split alone, and train=, val= and test= say which are these; give one of both"
        )
    return asked


@contextmanager
def _guarded(spec: str, library: Any) -> Iterator[None]:
    """Load without bars, and give whatever the package raises as one line."""
    bars = library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    except MogaNetError:
        raise
    except Exception as error:  # of pyarrow, of the network, of the package itself
        raise DataError(f"{spec} can't be loaded: {_why(error)}") from None
    finally:
        if not bars:
            library.enable_progress_bars()


def _why(error: BaseException) -> str:
    names = {type(one).__name__ for one in _chain(error)}
    reason = first_line(error)
    if "DatasetNotFoundError" in names:
        return f"{reason}; look at its name, log in by `hf auth login`, or give a folder"
    if names & {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "MaxRetryError"}:
        return f"the hub can't be reached ({reason}); load it once where there is a network, and give its folder"
    return reason


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _load(library: Any, name: str, config: str | None) -> Any:
    place = Path(name)
    if not exists(place):
        return library.load_dataset(name, config)
    if place.is_dir():
        return library.load_from_disk(name) if is_saved(place) else library.load_dataset(name, config)
    if place.suffix.lower() not in TABLES:
        raise DataError(f"{name} is no file that `datasets` loads; give a folder, or one of {', '.join(TABLES)}")
    return library.load_dataset(TABLES[place.suffix.lower()], data_files=name)


def _parts(loaded: Any, asked: Mapping[str, str], spec: str) -> tuple[dict[str, Any], list[str]]:
    """Give the parts that are our splits, and notes of what was taken for what and passed over."""
    if not hasattr(loaded, "keys"):  # one Dataset
        if named := next((key for key in ("split", "train", "val", "test") if key in asked), None):
            raise DataError(f"{spec} is not divided; leave {named}= out")
        return {"train": loaded}, []
    for key in ("split", "train", "val", "test"):
        if key in asked and asked[key] not in loaded:
            raise DataError(f"{spec} has no split {asked[key]!r}; {choose_of(asked[key], loaded)}")
    if "split" in asked:
        return {"train": loaded[asked["split"]]}, []
    told = {key: asked[key] for key in ("train", "val", "test") if key in asked}
    guessed = {} if told else {name: split_of(name) for name in loaded}
    notes = list[str]()
    for name, split in guessed.items():
        if split is None:
            continue
        if split in told:
            raise DataError(f"{spec} has {told[split]} and {name}, which may both be {split}; say ?{split}={name}")
        told[split] = name
        if name not in (split, "validation"):
            notes.append(f"took {name} of {spec} for {split}; choose otherwise by ?{split}=NAME")
    if not told and len(loaded) == 1:
        told = {"train": next(iter(loaded))}
    if not told:
        raise DataError(f"{spec} has the splits {', '.join(loaded)}; say which trains: ?train={next(iter(loaded))}")
    if rest := [name for name in loaded if name not in told.values()]:
        notes.append(f"passed over: the splits {', '.join(rest)} of {spec}; take one by ?split={rest[0]}")
    return {split: loaded[told[split]] for split in SPLITS if split in told}, notes


def _rows(part: Any, columns: Columns, spec: str) -> list[Row]:
    for column in (columns.image, columns.label):
        if column not in part.features:
            raise DataError(f"a split of {spec} has no column {column!r}; it has {', '.join(part.features)}")
    with _guarded(spec, import_extra("datasets", spec, "scale")):
        values = part.with_format(None).select_columns([columns.label])[:][columns.label]
    return read_rows(values, columns, spec)


def _labelled(split: str, rows: list[Row], asked: Mapping[str, str], spec: str, notes: list[str]) -> list[int]:
    """Give the rows that have a class; those without are left out where all are so, or that is asked for."""
    kept = [number for number, row in enumerate(rows) if row is not None]
    without = len(rows) - len(kept)
    if without and not kept:
        notes.append(f"left out: no image of {split} of {spec} has a class, so that it can't measure")
    elif without and "missing" not in asked:
        first = next(number for number, row in enumerate(rows) if row is None)
        what = f"{without:,} rows of {split} of {spec} have no class, the first is row {first}"
        raise DataError(f"{what}; leave them out by ?missing=skip")
    elif without:
        notes.append(f"passed over: {without:,} rows of {split} of {spec} without a class")
    return kept


def _split(
    library: Any, part: Any, columns: Columns, found: tuple[list[Row], list[int], tuple[str, ...]], name: str
) -> FileSplit:
    rows, kept, class_names = found
    images = part.with_format(None).select_columns([columns.image])
    images = images.cast_column(columns.image, library.Image(decode=False))
    asked, holder = HubColumn(images, columns.image), Path(name.rpartition("/")[0] or os.curdir)
    files: list[ImageFile] = [Within(holder, i, f"{name}/{i:06d}", HubReader, asked=asked) for i in kept]
    return FileSplit(files, targets_of([rows[i] for i in kept], class_names, several=columns.several))
