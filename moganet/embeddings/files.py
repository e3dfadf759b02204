"""A finished file of features, in either format: written whole or not at all, and read a part at a time."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from moganet.embeddings import npz, parquet
from moganet.embeddings.rows import MadeWith, Rows, regrouped
from moganet.errors import DataError, MogaNetError, OutputError, first_line
from moganet.files import atomic_path

FORMATS: dict[str, ModuleType] = {parquet.SUFFIX: parquet, npz.SUFFIX: npz}
TOGETHER = 8192  # rows of a group
AGAIN = "make it again by moganet embed --overwrite"


def check_name(out: Path) -> None:
    """Raise OutputError for a name of neither format, and MissingExtraError for one that needs what is not here."""
    if out.suffix.lower() not in FORMATS:
        raise OutputError(f"{out} ends neither in .parquet nor in .npz; name it so")
    FORMATS[out.suffix.lower()].needs()


def write_features(out: Path, made: MadeWith, parts: Callable[[], Iterable[Rows]], names: Iterable[str]) -> None:
    """Write rows; `parts` gives them each time it is called."""
    with atomic_path(out) as temporary:
        FORMATS[out.suffix.lower()].write(temporary, made, lambda: regrouped(parts(), TOGETHER), names)


def read_made(path: Path) -> MadeWith | None:
    """Give with what a file's features were made; None for a file of something else. Raises DataError for damage."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None or not path.is_file():
        return None
    try:
        made: MadeWith | None = kind.read_made(path)
    except MogaNetError:
        raise
    except Exception as error:  # Arrow and zipfile share no class of errors
        raise DataError(f"{path} can't be read: {first_line(error)}; {AGAIN}") from None
    return made


def read_features(path: Path) -> Iterator[Rows]:
    """Give the rows of a file of features, some at a time. Raises DataError for what is damaged, or not finite."""
    dim = None
    try:
        for rows in FORMATS[path.suffix.lower()].read(path):
            if dim not in (None, rows.features.shape[1]) or not np.isfinite(rows.features).all():
                raise ValueError("its features are not finite, or not of one length")
            if not all(isinstance(one, str) for one in (*rows.files, *rows.contents)):
                raise ValueError("a row has no name")
            dim = rows.features.shape[1]
            yield rows
    except MogaNetError:
        raise
    except Exception as error:
        raise DataError(f"{path} is damaged: {first_line(error)}; {AGAIN}") from None
