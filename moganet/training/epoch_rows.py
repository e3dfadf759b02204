"""metrics.csv as it is read, without torch.

Files of before, which have several rows an epoch and count from 0, are read as if they had one an epoch.
"""

import csv
import io
from collections.abc import Iterable

from moganet.errors import DataError

Row = dict[str, str]


def read_rows(text: str) -> dict[int, Row]:
    """Read a table into {epoch from 1: its figures}. Raises DataError or ValueError for what is no table of a run."""
    rows: dict[int, Row] = {}
    found = list(_cells(text))
    first = min((int(float(row["epoch"])) for row in found if row.get("epoch")), default=0)
    for row in found:
        given = row.pop("epoch", "")
        # Rates had no epoch: they stood before the first row of theirs.
        epoch = int(float(given)) + 1 - min(first, 1) if given else max(rows, default=0) + 1
        if not given and not any(name.startswith("lr") for name in row):
            continue
        rows.setdefault(epoch, {}).update(row)
    return rows


def _cells(text: str) -> Iterable[Row]:
    try:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            yield {name: value for name, value in row.items() if isinstance(name, str) and value and type(value) is str}
    except csv.Error as error:
        raise DataError(f"this is no table of a run: {error}") from None
