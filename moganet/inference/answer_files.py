"""Files of answers, written as the answers come: CSV, JSON lines or Parquet."""

import csv
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from moganet.errors import OutputError, import_extra
from moganet.files import atomic_path, check_place, to_json
from moganet.results import Record
from moganet.tasks.records import Row

SUFFIXES = (".csv", ".jsonl", ".parquet")
GROUP = 4096  # rows that are held, and a row group of Parquet
Write = Callable[[Row], object]


def is_answer_file(path: Path) -> bool:
    """Tell a file of answers, by its ending, from a folder. Raises OutputError for the ending of another kind."""
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} is no file of answers; name it {', '.join(f'*{one}' for one in SUFFIXES)}")
    return bool(path.suffix)


def check_answer_file(path: Path) -> None:
    """Raise OutputError for a place that no answers can be written to, MissingExtraError without pyarrow."""
    check_place(path, "--out")
    if path.suffix.lower() == ".parquet":
        import_extra("pyarrow", "Parquet", "table")


@contextmanager
def open_answers(path: Path, columns: Sequence[str], more: Sequence[str]) -> Iterator[Write]:
    """Give what writes a row into a file, which appears when all are written. more: of a row's fields
    that have a column of a CSV file beside those of the task.
    """
    writer = {".jsonl": _json_lines, ".parquet": _parquet}.get(path.suffix.lower())
    with (
        atomic_path(path) as temporary,
        _csv(temporary, columns, more) if writer is None else writer(temporary) as write,
    ):
        yield write


@contextmanager
def _csv(path: Path, columns: Sequence[str], more: Sequence[str]) -> Iterator[Write]:
    """A line an image and class."""
    # A name that isn't UTF-8 is written as the bytes that it has.
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow((*columns, *more))
        yield lambda row: writer.writerows((*cells, *(_cell(row.get(name)) for name in more)) for cells in row.cells())


def _cell(value: Any) -> object:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else value


@contextmanager
def _json_lines(path: Path) -> Iterator[Write]:
    """A line an image, as `--json` has it."""
    with open(path, "w", encoding="utf-8") as file:
        yield lambda row: file.write(to_json(row.plain()) + "\n")


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    """A row an image, with the columns that `--json` has as keys."""
    import pyarrow
    import pyarrow.parquet

    held: list[Row] = []
    writer: Any = None

    def flush() -> None:
        nonlocal writer
        kind = type(held[0]) if held else Row
        schema = pyarrow.schema([(name, arrow_type(kind.model_fields[name].annotation)) for name in kind.model_fields])
        writer = writer or pyarrow.parquet.ParquetWriter(path, schema)
        writer.write_table(pyarrow.Table.from_pylist([encodable(row.plain()) for row in held], writer.schema))
        held.clear()

    def write(row: Row) -> None:
        held.append(row)
        if len(held) >= GROUP:
            flush()

    try:
        yield write
        if held or writer is None:
            flush()
    finally:
        if writer is not None:
            writer.close()


def arrow_type(hint: Any) -> Any:
    """Give Arrow's type of a field's."""
    import pyarrow

    parts = [one for one in get_args(hint) if one is not types.NoneType and one is not Ellipsis]
    if get_origin(hint) in (Union, types.UnionType):
        return arrow_type(parts[0])
    if get_origin(hint) in (tuple, list):
        return pyarrow.list_(arrow_type(parts[0]))
    if isinstance(hint, type) and issubclass(hint, Record):
        return pyarrow.struct([(name, arrow_type(one.annotation)) for name, one in hint.model_fields.items()])
    known = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    return known.get(hint, pyarrow.string())


def encodable(value: Any) -> Any:
    r"""Give a value whose texts are UTF-8: a byte of a name that isn't becomes \udc.. in letters."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: encodable(one) for key, one in value.items()}
    return [encodable(one) for one in value] if isinstance(value, list | tuple) else value
