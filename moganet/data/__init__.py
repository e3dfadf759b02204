"""Data sources by name, and one way to open any of them."""

from collections.abc import Callable
from pathlib import Path

from moganet.data import cifar, digits, folder, table
from moganet.data.source import ArraySplit, Dataset, FileSplit, Sample, Split
from moganet.errors import DataError
from moganet.notices import say

SOURCES: dict[str, Callable[[str | None], Dataset]] = {
    "digits": digits.open_digits,
    **cifar.OPENERS,
    "folder": folder.open_folder,
    "table": table.open_table,
}

__all__ = ["SOURCES", "ArraySplit", "Dataset", "FileSplit", "Sample", "Split", "open_data"]


def open_data(spec: str) -> Dataset:
    """Open a data set: "SOURCE", "SOURCE:PATH", or a path whose kind is recognised; its notes are said.

    Raises DataError that names the sources where the text is neither.
    """
    dataset = _open(spec)
    for note in dataset.notes:
        say(note, doubtful=True)
    return dataset


def _open(spec: str) -> Dataset:
    name, _, path = spec.partition(":")
    if name in SOURCES:
        return SOURCES[name](path or None)
    if not Path(spec).exists():
        raise DataError(
            f"{spec!r} is neither a path nor a data source; sources: {', '.join(SOURCES)} (as SOURCE or SOURCE:PATH)"
        )
    if cifar_name := cifar.recognise_cifar(Path(spec)):
        return SOURCES[cifar_name](spec)
    if Path(spec).suffix.lower() in (".csv", ".tsv", ".parquet", ".pq"):
        return table.open_table(spec)
    if Path(spec).is_dir():
        return folder.open_folder(spec)
    raise DataError(f"can't tell what {spec} holds; say it as SOURCE:PATH with one of {', '.join(SOURCES)}")
