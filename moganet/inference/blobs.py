"""What OpenVINO has compiled, kept in the cache: a known model answers sooner by it, and never otherwise than without.

A blob is $MOGANET_CACHE/compiled/KEY, known by the graph's own key, OpenVINO's build, the processor and all options.
OpenVINO does not notice damage in one, and reads it as its own, so that it must be what was written there, by its hash,
and a file of this user's that nobody else may write. Whatever is not so is compiled anew.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from moganet.errors import OutputError
from moganet.files import atomic_path
from moganet.inference.cache import folder_of, make_folder, what_changed

ROOM, FILE = "compiled", "openvino.blob"
MOST = 256 << 20  # bytes: a larger one is read nearly as slowly as it is compiled


def recall_blob(key: str) -> bytes | None:
    """Give the blob of a key; None where there is none that can be trusted."""
    folder = folder_of(ROOM, key)
    if not os.path.lexists(folder) or what_changed(folder, key) is not None:
        return None
    with suppress(OSError):
        descriptor = os.open(folder / FILE, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            if _is_own(os.fstat(descriptor)):
                return file.read(MOST)
    return None


def _is_own(found: os.stat_result) -> bool:
    """Tell whether a file is this user's and nobody else may write it; Windows keeps the files of users apart."""
    mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
    return stat.S_ISREG(found.st_mode) and mine


def keep_blob(key: str, export: Callable[[], bytes]) -> None:
    """Write a blob; where that can't be done, the next process compiles again."""
    with suppress(OSError, OutputError, RuntimeError):  # the last is OpenVINO's, of a model that it does not export
        blob = export()
        if len(blob) < MOST:
            folder = folder_of(ROOM, key)
            (folder / FILE).unlink(missing_ok=True)  # whatever is there was not trusted, though its hash may be right
            make_folder(folder, key, lambda made: _write(made / FILE, blob))


def _write(path: Path, blob: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(blob)
    path.chmod(0o600)
