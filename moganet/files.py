"""Files that appear whole or not at all, and JSON that every reader takes."""

import errno
import glob
import itertools
import json
import math
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from moganet.errors import DataError, MogaNetError, OutputError
from moganet.notices import UNSEEN, printable, say

# What the system says when it is the place that is wrong, and not we.
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
ROOM = 4 << 20  # bytes, for want of which a writer may have failed
MAX_CHAIN = 10
MOST_NEIGHBOURS = 10_000  # names in a folder, of which one may have been meant
PLACE_ERRORS = (
    *(errno.EACCES, errno.EPERM, *FULL_ERRORS),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO),
    *(errno.ENOTEMPTY, errno.EBUSY, errno.EXDEV, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETXTBSY),
)


def cache_folder() -> Path:
    """Give the folder of what can be made again: $MOGANET_CACHE, ~/.cache/moganet or, without home, a temporary one."""
    if chosen := os.environ.get("MOGANET_CACHE"):
        return Path(chosen)
    home, own = _home(), own_temporary_folder()
    if home is not None and is_writable(home / ".cache" / "moganet") and not home.is_relative_to(own):
        return home / ".cache" / "moganet"
    say(f"there is no home folder that can be written, so the cache is {own}; choose another by MOGANET_CACHE")
    return own


def give_packages_a_home() -> None:
    """Let other packages (matplotlib, OpenVINO, torch) write where they write to a home, where this user has none."""
    home = _home()
    if home is not None and is_writable(home):
        return
    own = own_temporary_folder()
    if home is None or not home.is_dir():
        os.environ["HOME"] = str(own)
    os.environ.setdefault("MPLCONFIGDIR", str(own / "matplotlib"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(own / "inductor"))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry for this user
        return None


def read_names(stream: Any) -> list[str]:
    """Read a list of paths, one a line, or ended by NUL (`find -print0`), in any bytes that a file system allows."""
    return names_in(stream.buffer.read() if hasattr(stream, "buffer") else os.fsencode(stream.read()))


def names_in(raw: bytes, folder: Path = Path()) -> list[str]:
    """Give the names of such a list. folder: where relative ones start."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")  # PowerShell's mark
    if b"\0" in raw:
        return [os.fsdecode(name) for name in raw.split(b"\0") if name]
    names = (os.fsdecode(name) for name in raw.replace(b"\r\n", b"\n").split(b"\n"))
    return [name if os.path.lexists(folder / name) else name.strip() for name in names if name.strip()]


def is_writable(folder: Path) -> bool:
    """Say whether a folder can be written, or made where it does not exist."""
    try:
        while not os.path.lexists(folder):
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def check_place(path: Path, option: str) -> None:
    """Raise OutputError where a file can't be written, before the work that it shall hold is done."""
    real = Path(os.path.realpath(path))
    try:
        if real.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if real.is_dir():
            raise OutputError(f"{path} is a folder; give {option} the name of a file")
        if real.exists() and not real.is_file():  # /dev/stdout, which only writing can try
            return
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}; choose another place by {option}") from None
    if not is_writable(real.parent):
        raise OutputError(f"can't write {path}: its folder can't be written; choose another place by {option}")


def own_temporary_folder() -> Path:
    """Give this user's folder among the temporary files, which nobody else can write; a new one where it is not so."""
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows keeps the temporary files of users apart
    folder = Path(tempfile.gettempdir()) / f"moganet-{user}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or os.name == "nt"
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and private:
            return folder
    return _another_temporary_folder()


@cache
def _another_temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="moganet-"))


def neighbours(path: str | Path) -> list[str]:
    """Name what lies in the folder that a path was meant to be in, as it would have been typed."""
    place = Path(path)
    try:
        return [str(place.with_name(entry.name)) for entry in itertools.islice(place.parent.iterdir(), MOST_NEIGHBOURS)]
    except (OSError, ValueError):
        return []


def typed_path(name: str | Path) -> Path:
    """Give the path that a user typed: as it is where it exists (a name may begin with ~), else with ~ expanded."""
    path = Path(name)
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except RuntimeError:  # no such user, or no home: a name like any other
        return path


@contextmanager
def path_in_utf8(path: Path) -> Iterator[Path]:
    """Yield a path of the same file for packages that take none but in UTF-8: itself, or a link's."""
    if os.fsencode(path).decode("utf-8", "replace") == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="moganet-") as folder:
        link = Path(folder) / f"file{printable(path.suffix)}"
        link.symlink_to(path.resolve())
        yield link


def open_to_append(path: Path) -> int:
    """Open a file's descriptor to append to. Raises OSError for a link, a pipe or a device in its place."""
    flags = sum(getattr(os, name, 0) for name in ("O_WRONLY", "O_APPEND", "O_CREAT", "O_NOFOLLOW", "O_NONBLOCK"))
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file")
    return descriptor


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name, flushed to disk, when the block succeeds.

    The temporary name keeps the suffix, by which many writers choose their format. A link is followed; what is no
    regular file (/dev/stdout) is written directly. Raises OutputError where the place can't be written.
    """
    path = Path(os.path.realpath(path))  # unlike resolve, it leaves a loop of links to whoever opens it
    with _place_named(path):
        if path.is_symlink():  # it would be replaced
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        # A long name would be too long with what is added. Two files that differ in their endings only share it.
        unique = f"{path.stem[:40]}.{zlib.crc32(os.fsencode(path.stem)):08x}.{os.getpid()}"
        temporary = path.with_name(f".{unique}.partial{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
            os.replace(temporary, path)
            _flush_folder(path.parent)
        except MogaNetError:
            raise
        except Exception as error:
            if _place_error(error) is None and (reason := _no_room(temporary)) is not None:
                raise OSError(reason, os.strerror(reason)) from None  # in the writer's own words it says nothing of it
            raise
        finally:
            with suppress(OSError):
                temporary.unlink()


def move_file(made: Path, path: Path) -> None:
    """Give a file that lies there whole another name beside it. Raises OutputError where that can't be."""
    with _place_named(path):
        os.replace(made, path)
        _flush_folder(path.parent)


def clear_partials(folder: Path, stem: str) -> None:
    """Take away what killed processes left of files whose names begin so, where nobody else writes such files."""
    for path in folder.glob(f".{glob.escape(stem)}*.partial.*"):
        with suppress(OSError):
            path.unlink()


@contextmanager
def _place_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if (reason := _place_error(error)) is not None:
            raise OutputError(f"can't write {path}: {reason}; choose another place or make room") from None
        raise


def _place_error(error: Exception) -> str | None:
    """Give the system's words where an error, or one that it came of, is the place's fault."""
    seen: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if seen is None:
            return None
        number = seen.errno if isinstance(seen, OSError) else None
        if number is None and (found := re.search(r"\(os error (\d+)\)", str(seen))):  # safetensors says no more
            number = int(found[1])
        if number is not None and number in PLACE_ERRORS:
            return os.strerror(number)
        seen = seen.__cause__ or seen.__context__
    return None


def _no_room(temporary: Path) -> int | None:
    """Give the system's number where nothing more can be written behind what a failed writer has left."""
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in PLACE_ERRORS else None
    return None


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


@contextmanager
def free_stem(folder: Path, stem: str, endings: Sequence[str], *, overwrite: bool) -> Iterator[str]:
    """Give the stem, numbered where a file of it and an ending is there already, and keep others from it.

    The first of the files is made, empty, so that of two calls at once each has names of its own; it goes again
    where what is within fails.
    """
    if overwrite:
        yield stem
        return
    with suppress(OSError):  # which the first file says better
        folder.mkdir(parents=True, exist_ok=True)
    name = next(one for one in _numbered(stem) if _is_free(folder, one, endings))
    kept = folder / f"{name}{endings[0]}"
    try:
        yield name
    finally:
        if kept.is_file() and not kept.stat().st_size:
            kept.unlink()


def _numbered(stem: str) -> Iterator[str]:
    return (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))


def _is_free(folder: Path, stem: str, endings: Sequence[str]) -> bool:
    if any(os.path.lexists(folder / f"{stem}{ending}") for ending in endings):
        return False
    try:
        (folder / f"{stem}{endings[0]}").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"can't write into {folder}: {error.strerror}; choose another place") from None
    return True


def write_text(path: Path, text: str) -> None:
    r"""Write a text file whole or not at all (UTF-8; what stands for a byte that isn't UTF-8 becomes \udc..)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_small(path: Path, limit: int, error: type[MogaNetError] = DataError) -> str:
    """Read a text file (UTF-8) of at most `limit` bytes. It must be a regular file: no pipe, device or folder.

    Raises `error` for anything else and for what can't be read, before more than `limit` bytes of it are in memory.
    """
    try:
        # A pipe without a writer would be waited for; this way it is opened, and then seen to be one.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise error(f"{path} is no regular file, but a pipe, a device or a folder; give a file")
            content = file.read(limit + 1)
    except (OSError, ValueError) as reason:
        if isinstance(reason, MogaNetError):
            raise
        raise error(f"can't read {path}: {getattr(reason, 'strerror', None) or reason}") from None
    if len(content) > limit:
        raise error(f"{path} is larger than {limit:,} bytes, which such a file never is; give another")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as reason:
        raise error(f"{path} is no text in UTF-8 (byte {reason.start:,}); save it so") from None


def to_json(value: Any, indent: int | None = None, *, ascii_only: bool = False) -> str:
    """Give a value as JSON, records as objects; it knows no NaN and no infinities, so they become null.

    What steers a terminal, and what no encoding takes, is escaped. ascii_only: all but ASCII is.
    """
    text = json.dumps(_finite(value), ensure_ascii=ascii_only, default=str, indent=indent)
    return UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def _finite(value: Any) -> Any:
    if hasattr(value, "items"):  # a dict, or a record of moganet.results
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
