"""A folder in the cache: it appears whole, and what changed in it is noticed."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from moganet.errors import first_line
from moganet.files import cache_folder
from moganet.inference.metadata import MAX_BYTES, blocks, hash_of

HASHES, MAX_HASHES = "sha256.json", 10_000  # what a folder of the cache holds by name, and how long it may be


def folder_of(room: str, key: str, prefix: str = "") -> Path:
    """Give the cache's folder of what was made of a key, by the key's hash."""
    return cache_folder() / room / f"{prefix}{hash_of([key.encode()])[:24]}"


def make_folder(folder: Path, key: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside its place, and move it there. Raises the system's OSError where that fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
        write(Path(made))
        keep_folder(Path(made), folder, key)


def keep_folder(made: Path, folder: Path, key: str = "") -> None:
    """Move what was made to its place at once, with the hash of each file, so that no process sees a part of it.

    key: what it was made of, by which a folder of another model in this place is known for what it is.

    What lies there already whole stays: another process made it meanwhile, and may be reading it. What is damaged gives
    way as a whole; who has it open goes on with it.
    """
    hashes = {path.name: _hash(path) for path in sorted(made.iterdir())}
    (made / HASHES).write_text(json.dumps({"key": hash_of([key.encode()]), "files": hashes}), "utf-8")
    made.chmod(0o755)
    try:
        made.rename(folder)
    except OSError:  # something lies there
        if what_changed(folder, key) is None:
            return
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".old-"))
        with suppress(OSError):
            folder.rename(old / folder.name)  # whatever it is: a folder, a file, a link
        shutil.rmtree(old, ignore_errors=True)
        if what_changed(folder, key) is not None:
            made.rename(folder)


def what_changed(folder: Path, key: str | None = None) -> str | None:
    """Say why a folder in the cache is not what was written there, or not of this key; None where it is."""
    try:
        found = {path.name: _hash(path) for path in folder.iterdir()}
        if not found.pop(HASHES, None) or (folder / HASHES).stat().st_size > MAX_HASHES:
            return f"it has no {HASHES} of ours"
        written = json.loads((folder / HASHES).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return first_line(error)
    if not isinstance(written, dict):
        return "it has no hashes of ours"
    if key is not None and written.get("key") != hash_of([key.encode()]):
        return "it is of another model, or in another form"
    return None if written.get("files") == found else "its files have other content"


def _hash(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:  # a pipe would never end
        raise ValueError(f"{path.name} is no file of ours")
    with open(path, "rb") as file:
        return hash_of(blocks(file, path.stat().st_size))
