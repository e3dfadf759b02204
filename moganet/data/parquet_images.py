"""Images that lie in a column of a Parquet file, read row by row: of a file of any size few are held at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar

from moganet.data.within import InTurn, Within, stamp_of
from moganet.errors import DataError, import_extra, reason_of

ROWS = 16  # that are read at a time


class ParquetReader:
    """Reads a column's images, one behind the other. asked: the column."""

    in_turn: ClassVar[bool] = True

    def __init__(self, path: Path, asked: str) -> None:
        self.path, self.column = path, asked
        self.turn = InTurn(self._contents, "the file ends before it, or is damaged there")

    def read(self, place: int) -> bytes:
        found = self.turn.get(place)
        if found == b"":
            raise DataError("its row has no image")
        assert isinstance(found, bytes)
        return found

    def _contents(self) -> Iterator[tuple[int, bytes]]:
        parquet: Any = import_extra("pyarrow.parquet", "Parquet", "table")
        number = 0
        try:
            # With a buffer a column's chunk is not read as a whole, which may be all of the file.
            with parquet.ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
                for batch in file.iter_batches(ROWS, columns=[self.column], use_threads=False):
                    for cell in batch.column(0).to_pylist():
                        yield number, (cell.get("bytes") if isinstance(cell, dict) else cell) or b""
                        number += 1
        except Exception as error:  # pyarrow raises anything at all for a damaged file
            raise DataError(f"{self.path} is damaged behind row {number:,}: {reason_of(error)}") from None


def embedded_images(path: Path, column: str) -> list[Within] | None:
    """Give the images of a column of bytes, or of records of bytes and path; None for a column of anything else."""
    parquet: Any = import_extra("pyarrow.parquet", "Parquet", "table")
    with parquet.ParquetFile(path) as file:
        field = file.schema_arrow.field(column)
        kinds = {one.name: str(one.type) for one in field.flatten()} if str(field.type).startswith("struct") else {}
        if not any(kind in ("binary", "large_binary") for kind in (str(field.type), kinds.get(f"{column}.bytes"))):
            return None
        names: Sequence[str | None] = [None] * file.metadata.num_rows
        if f"{column}.path" in kinds:
            names = [cell.get("path") for cell in file.read(columns=[f"{column}.path"]).column(0).to_pylist()]
    stamp = stamp_of(path)
    return [
        Within(
            path,
            row,
            "/".join(filter(None, (path.name, str(row), PurePath(name or "").name))),
            ParquetReader,
            asked=column,
            stamp=stamp,
        )
        for row, name in enumerate(names)
    ]
