"""Data sources by name, and one way to open any of them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moganet.data.findings import UnusableDataError
    from moganet.data.open import SOURCES, open_data
    from moganet.data.source import ArraySplit, Dataset, FileSplit, Sample, Split

__all__ = ["SOURCES", "ArraySplit", "Dataset", "FileSplit", "Sample", "Split", "UnusableDataError", "open_data"]
_HOMES = {"SOURCES": "open", "open_data": "open", "UnusableDataError": "findings"}  # the others lie in source.py


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: they need torch, and reading an image does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"moganet.data.{_HOMES.get(name, 'source')}"), name)
