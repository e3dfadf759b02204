"""CSV and Parquet files as columns, with each row's place for whoever must be told of one."""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moganet.errors import DataError, MissingExtraError, did_you_mean
from moganet.files import neighbours

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
TEXTS = ("string", "large_string", "string_view")  # Arrow's types
DELIMITERS = ",;\t|"
MARKS = {  # the longest first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Table:
    """A table by its columns.

    column: gives the cells of a column, text or (from Parquet) of any type, None where there is nothing.
    texts: the columns of text. places: how a person finds each row, "line 7". class_names: what the numbers of a column
    stand for, where the file says so. notes: what was passed over. faults: what is wrong with the rows left out.
    """

    file: Path
    header: tuple[str, ...]
    column: Callable[[str], Sequence[Any]]
    texts: tuple[str, ...]
    places: Sequence[str]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def read_table(file: Path) -> Table:
    """Read a CSV or Parquet file. Raises DataError that names the line where something is wrong."""
    if not file.is_file():
        like = did_you_mean(file, neighbours(file), 0.75)
        raise DataError(f"there is no table {file}; {like}give a CSV or Parquet file with the columns path and label")
    try:
        with open(file, "rb") as stream:
            is_parquet = stream.read(4) == b"PAR1" or file.suffix.lower() in (".parquet", ".pq")
        table = _read_parquet(file) if is_parquet else _read_csv(file, _decode(file, file.read_bytes()))
    except OSError as error:
        raise DataError(f"can't read {file}: {error.strerror or error}") from None
    if not table.places:
        raise DataError(
            table.faults[0] if table.faults else f"{file} has no rows; it needs a header and a row for each image"
        )
    return table


def _decode(file: Path, content: bytes) -> str:
    encoding = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        line = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise DataError(f"{file} is no CSV file in UTF-8 (line {line}: {error}); save it as one") from None
    if "\0" in text:
        raise DataError(f"{file} is no CSV file in UTF-8 (it has null bytes); save it as one")
    return text


def _read_csv(file: Path, text: str) -> Table:
    said = re.match(r"\s*sep=([,;\t|])\r?\n", text)  # as Excel begins a file, to know it again
    delimiter = said[1] if said else _delimiter(text)
    spaced = re.search(rf'{re.escape(delimiter)} +"', text) is not None  # a quote counts where a cell begins only
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    rows, places, torn, empty = list[list[str]](), list[str](), list[str](), 0
    try:
        if said:
            next(line for line in reader if line)
        filled = (cells for cells in reader if any(cell.strip() for cell in cells))
        header = [name.strip() for name in next(filled, [])]
        start = reader.line_num + 1
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                empty += bool(cells)  # lines with nothing but delimiters; one with nothing at all is no row
            elif len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
                torn.append(f"line {line} has {len(cells)} cells")
            else:
                rows.append(cells)
                places.append(f"line {line}")
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {file} is no CSV: {error}; mend its quotes") from None
    faults = (_torn(file, header, torn, delimiter),) if torn else ()
    notes = (f"passed over: {empty:,} rows of {file.name} without anything in them",) if empty else ()
    names = tuple(header)
    return Table(file, names, lambda name: [row[names.index(name)] for row in rows], names, places, {}, notes, faults)


def _torn(file: Path, header: Sequence[str], torn: Sequence[str], delimiter: str) -> str:
    """Say which lines have another number of cells than the header, and what may be wrong."""
    more = f" and {len(torn) - 3:,} more lines are like that" if len(torn) > 3 else ""
    what = f"in {file}, whose header has {len(header)} cells, {', '.join(torn[:3])}{more}; "
    if len(header) == 1:
        return f"{what}its first line, {header[0][:80]!r}, must be the header, as path,label"
    return f"{what}give each line {len(header)} cells, and put what holds a {_named(delimiter)} into double quotes"


def _delimiter(text: str) -> str:
    """Give the delimiter that divides the header most."""
    header = text.lstrip("\r\n").splitlines()[:1]
    return max(DELIMITERS, key=lambda one: len(next(csv.reader(header, delimiter=one), [])))


def _named(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}[delimiter]


def _read_parquet(file: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "Parquet needs pyarrow: pip install 'moganet[table]', or save the table as CSV"
        ) from None

    def guarded(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:  # pyarrow raises anything at all for a damaged file
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{file} is no Parquet file, or a damaged one: {reason}") from None

    opened = guarded(lambda: pyarrow.parquet.ParquetFile(file))
    header = guarded(lambda: tuple(opened.schema_arrow.names))
    names = guarded(lambda: _class_names(opened.schema_arrow.metadata or {}))
    places = [f"row {number}" for number in range(opened.metadata.num_rows)]  # counted as pandas does

    def column(name: str) -> Sequence[Any]:
        cells: list[Any] = guarded(lambda: opened.read(columns=[name]).column(name).to_pylist())
        if len(cells) != len(places):
            raise DataError(f"{file} is a damaged Parquet file: its column {name!r} has {len(cells):,} rows")
        return cells

    texts = guarded(lambda: tuple(field.name for field in opened.schema_arrow if str(field.type) in TEXTS))
    return Table(file, header, column, texts, places, names)


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Give the names that Hugging Face's datasets keep for columns of numbers."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        kept = {column: feature.get("names") for column, feature in features.items()}
        return {column: tuple(map(str, names)) for column, names in kept.items() if isinstance(names, list)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
