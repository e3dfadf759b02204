"""Data sources by name, and one way to open any of them."""

from typing import TYPE_CHECKING

from moganet.importing import from_homes

if TYPE_CHECKING:
    from moganet.data.findings import UnusableDataError
    from moganet.data.open import SOURCES, open_data
    from moganet.data.source import ArraySplit, Dataset, FileSplit, Sample, Split

__all__ = ["SOURCES", "ArraySplit", "Dataset", "FileSplit", "Sample", "Split", "UnusableDataError", "open_data"]
_OPEN = dict.fromkeys(("SOURCES", "open_data"), "moganet.data.open")
_SOURCE = dict.fromkeys(("ArraySplit", "Dataset", "FileSplit", "Sample", "Split"), "moganet.data.source")
# When a name is asked for: they need torch, and reading an image does not.
__getattr__ = from_homes(__name__, {**_OPEN, **_SOURCE, "UnusableDataError": "moganet.data.findings"})
