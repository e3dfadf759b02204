"""By what outputs are kept: a hash of the files that made them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def of_files(names: Iterable[str], more: str = "") -> str:
    """Hash the contents of files and of folders' files, by their names in the repository; and another text."""
    found = hashlib.sha256(more.encode())
    for place in (ROOT / name for name in names):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]
