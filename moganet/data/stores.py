"""Where shards lie: a folder, or an address of fsspec's (http://, s3://, memory://); files there, and parts of them.

A network that fails for a while is asked again; then UnreachableError ends what asked, for an image that could not be
fetched is none that can't be read.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from moganet.errors import DataError, MissingExtraError, MogaNetError, UnreachableError, first_line
from moganet.files import typed_path

TRIES, PAUSE = 3, 0.5  # of what the network did not give, and seconds before the second of them
GONE = (404, 410)  # what a server says of a file that is not there
AT_ONCE = 16  # questions to a network
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs", "http": "aiohttp"}
Given = TypeVar("Given")


class Store(Protocol):
    """A place with files in it, by their names. All raise DataError for a file that is not there."""

    def __str__(self) -> str: ...
    def size(self, name: str) -> int: ...  # bytes
    def read(self, name: str, start: int, size: int) -> bytes: ...  # a part; fewer bytes where the file ends


def is_address(text: str) -> bool:
    """Tell an address (http://…, simplecache::s3://…) from a path; file:// is a path."""
    return "://" in text and not text.startswith("file://")


def store_of(text: str) -> "Store":
    """Give the store at a path or an address."""
    if is_address(text):
        return Remote(text.rstrip("/"))
    return Local(typed_path(text.removeprefix("file://")).absolute())


def sizes(store: Store, names: Sequence[str]) -> list[int | None]:
    """Give the size of each file, None where there is none."""

    def one(name: str) -> int | None:
        try:
            return store.size(name)
        except DataError:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, names))


@dataclass(frozen=True)
class Local:
    """A folder."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def size(self, name: str) -> int:
        return _known(self.folder / name, lambda: (self.folder / name).stat().st_size)

    def read(self, name: str, start: int, size: int) -> bytes:
        def part() -> bytes:
            # Opening takes 20 µs, decoding a hundred times that.
            with open(self.folder / name, "rb", buffering=0) as file:
                file.seek(start)
                return file.read(size)

        return _known(self.folder / name, part)


def _known(path: Path, ask: Callable[[], Given]) -> Given:
    try:
        return ask()
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from None


@dataclass(frozen=True)
class Remote:
    """An address of fsspec's. What a provider asks for (keys, regions) it takes from its own settings and variables."""

    url: str

    def __str__(self) -> str:
        return self.url

    def size(self, name: str) -> int:
        return self._asked(name, lambda system, path: _size(system.info(path)))

    def read(self, name: str, start: int, size: int) -> bytes:
        return self._asked(name, lambda system, path: bytes(system.cat_file(path, start=start, end=start + size)))

    @cached_property
    def _system(self) -> tuple[int, Any, str]:
        return (os.getpid(), *_connected(self.url))

    def _connection(self) -> tuple[Any, str]:
        """Give fsspec's file system and the path in it; of a forked process one of its own, as fsspec asks for."""
        if self._system[0] != os.getpid():
            del self.__dict__["_system"]
        return self._system[1:]

    def __getstate__(self) -> dict[str, Any]:  # another process connects itself
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _asked(self, name: str, ask: Callable[[Any, str], Given]) -> Given:
        """Ask for a file, again where the network fails. Raises DataError where there is none."""
        where, reason = f"{self.url}/{name}", ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * attempt)
            try:
                system, path = self._connection()
                return ask(system, f"{path.rstrip('/')}/{name}")
            except MogaNetError:
                raise
            except FileNotFoundError as error:
                if getattr(error.__cause__, "status", 404) in GONE and not isinstance(error.__cause__, OSError):
                    raise DataError(f"there is no {where}") from None
                reason = first_line(error.__cause__ or error)  # fsspec says so of servers that do not answer, too
            except PermissionError as error:
                raise UnreachableError(f"{where} may not be read ({first_line(error)}); give the keys for it") from None
            except Exception as error:  # each provider has errors of its own
                reason = first_line(error)
        raise UnreachableError(f"can't fetch {where}, tried {TRIES} times: {reason}; look at the network, and go on")


def _size(found: Any) -> int:
    if found.get("size") is None:
        raise DataError(f"{found.get('name')}: its server does not say how large it is")
    return int(found["size"])


def _connected(url: str) -> tuple[Any, str]:
    """Connect to an address. Raises MissingExtraError that names the package for it, DataError for no such kind."""
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url)
        return system, path
    except ImportError as error:
        kind = url.rpartition("://")[0].rpartition("::")[2].lower()
        needed = PACKAGES.get(kind) or PACKAGES.get(kind.removesuffix("s"))
        how = f"pip install {needed}" if needed else first_line(error)
        raise MissingExtraError(f"{url} needs another package: {how}") from None
    except Exception as error:  # providers look at their settings here
        raise DataError(f"{url} can't be opened: {first_line(error)}") from None
