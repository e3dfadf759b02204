"""Files that appear whole or not at all, and JSON that every reader takes."""

import errno
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moganet.errors import OutputError

# What the system says when it is the place that is wrong, and not we.
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
PLACE_ERRORS = (
    *(errno.EACCES, errno.EPERM, *FULL_ERRORS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EIO),
)


def cache_folder() -> Path:
    """Give the folder for what can be made or fetched again: $MOGANET_CACHE, else ~/.cache/moganet."""
    return Path(os.environ.get("MOGANET_CACHE") or Path.home() / ".cache" / "moganet")


def typed_path(name: str | Path) -> Path:
    """Give the path that a user typed: as it is where it exists (a name may begin with ~), else with ~ expanded."""
    path = Path(name)
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except RuntimeError:  # no such user, or no home: a name like any other
        return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name, flushed to disk, when the block succeeds.

    The temporary name keeps the suffix, by which many writers choose their format. A link is followed; what is no
    regular file (/dev/stdout) is written directly. Raises OutputError where the place can't be written.
    """
    path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except Exception as error:
        reason = _place_error(error)
        if reason is not None:
            raise OutputError(f"can't write {path}: {reason}; choose another place or make room") from None
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def _place_error(error: Exception) -> str | None:
    """Give the system's words where an error is the place's fault; safetensors has only the number in its text."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])
    return os.strerror(number) if number in PLACE_ERRORS and number is not None else None


def _flush_folder(folder: Path) -> None:
    """Make a new name last through a power cut as well, where the system can (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_json(value: Any, indent: int | None = None) -> str:
    """Give a value as JSON; it knows no NaN and no infinities, so they become null."""
    return json.dumps(_finite(value), ensure_ascii=False, default=str, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
