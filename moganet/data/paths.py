"""What lies at a path. Unlike pathlib's, os.path's questions raise for no name at all, however odd."""
# ruff: noqa: PTH110, PTH112, PTH113

import os
from pathlib import Path


def exists(path: str | Path) -> bool:
    """Tell whether something is there that may be looked at."""
    return os.path.exists(path)


def is_folder(path: str | Path) -> bool:
    """Tell whether a folder is there."""
    return os.path.isdir(path)


def is_file(path: str | Path) -> bool:
    """Tell whether a regular file is there: no pipe, device or folder."""
    return os.path.isfile(path)
