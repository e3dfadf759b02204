"""What several tests need and takes seconds to make, made once for all processes of a test run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

SHARED = "MOGANET_TESTS_SHARED"  # the folder, which conftest makes and takes away


def once(name: str, make: Callable[[Path], object]) -> Path:
    """Give the path under a name, made by `make(path)` if no process has made it yet; nobody may change it."""
    place, made = Path(os.environ[SHARED], name), Path(os.environ[SHARED], f".{name}.made")
    with FileLock(f"{place}.lock"):
        if not made.exists():
            shutil.rmtree(place, ignore_errors=True)  # of one who failed
            make(place)
            made.touch()
    return place
