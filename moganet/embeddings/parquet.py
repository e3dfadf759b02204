"""Features as a Parquet file: the columns file, features, label and content, and with what they were made."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moganet.embeddings.rows import MadeWith, Rows
from moganet.errors import import_extra

SUFFIX = ".parquet"
KEY = b"moganet.embeddings"
BATCH = 4096  # rows that are read at once


def needs() -> None:
    """Raise MissingExtraError where what writes and reads such files is not installed."""
    _arrow()


def write(path: Path, made: MadeWith, parts: Callable[[], Iterable[Rows]], names: Iterable[str]) -> None:
    """Write rows as they come. A name that isn't UTF-8 makes of all names bytes."""
    arrow, parquet = _arrow()
    as_bytes = any(not _is_utf8(name) for name in names)
    writer = None
    for rows in parts():
        dim = rows.features.shape[1]
        values = arrow.FixedSizeListArray.from_arrays(arrow.array(rows.features.ravel()), dim)
        files = [name.encode("utf-8", "surrogateescape") for name in rows.files] if as_bytes else list(rows.files)
        columns = {
            "file": arrow.array(files, arrow.binary() if as_bytes else arrow.string()),
            "features": values,
            "label": arrow.array([None if one is None else _text(one) for one in rows.labels], arrow.string()),
            "content": arrow.array(list(rows.contents), arrow.string()),
        }
        batch = arrow.RecordBatch.from_arrays([*columns.values()], names=[*columns])
        if writer is None:
            schema = batch.schema.with_metadata({KEY: made.model_dump_json().encode()})
            writer = parquet.ParquetWriter(path, schema, write_page_checksum=True, use_dictionary=["label"])
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))
    assert writer is not None  # no file is written of no image
    writer.close()


def read_made(path: Path) -> MadeWith | None:
    """Give with what a file's features were made; None for another Parquet file."""
    _, parquet = _arrow()
    text = (parquet.read_schema(path).metadata or {}).get(KEY)
    return None if text is None else MadeWith.model_validate(json.loads(text))


def read(path: Path) -> Iterator[Rows]:
    """Give the rows, some at a time."""
    _, parquet = _arrow()
    columns = ["file", "features", "label", "content"]
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(BATCH, columns=columns):
            files, labels, contents = (tuple(batch.column(name).to_pylist()) for name in ("file", "label", "content"))
            names = tuple(one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else one for one in files)
            values = batch.column("features")
            features = np.asarray(values.flatten(), np.float32).reshape(len(names), -1)
            yield Rows(names, contents, labels, features)


def _arrow() -> tuple[Any, Any]:
    what = "features in Parquet"
    return import_extra("pyarrow", what, "table"), import_extra("pyarrow.parquet", what, "table")


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in name)


def _text(label: str) -> str:
    return label.encode("utf-8", "backslashreplace").decode()
