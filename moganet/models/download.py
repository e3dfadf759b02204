"""A released file on this machine: downloaded once, resumed where it broke off, and checked before it gets its name."""

import http
import http.client
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from moganet.errors import OutputError, WeightsError
from moganet.files import cache_folder
from moganet.network.releases import PUBLISHED, Published
from moganet.notices import say
from moganet.progress import show_bytes

MIRROR = "MOGANET_WEIGHTS_URL"
ATTEMPTS = 5  # in a row without PROGRESS bytes more than there ever were
PROGRESS = 64 << 10
PAUSE = 0.5  # seconds, times the failures so far
TIMEOUT = 30  # seconds without a byte
REACH = 8  # seconds in which a server must answer before its weights are done without
ANSWER = 90  # seconds until an answer begins, however slowly its head comes
SLOWEST, WINDOW = 1024, 60  # bytes a second, over so many seconds
MAX_BYTES = 8 << 30  # of a file; the largest release has a fifth of it
CHUNK = 1 << 20


class _BrokenError(Exception):
    """A transfer ended early; what came is kept."""


class _RefusedError(Exception):
    """A server has no such file; trying again will not help."""


def fetch(name: str, cache_dir: Path | None = None) -> Path:
    """Give the file of a released model, from the cache or by download; safe under several processes.

    cache_dir: the folder to keep it in, else `weights` in $MOGANET_CACHE or ~/.cache/moganet.
    Raises WeightsError that says where to put the file by hand, OutputError where the cache can't be written.
    """
    release = PUBLISHED[name]
    target = (cache_dir or cache_folder() / "weights") / release.file
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(name, target):
            if not target.is_file():  # else another process was faster
                _download(name, release, target)
    except OSError as error:
        remedy = "make room, or name another folder in MOGANET_CACHE"
        raise OutputError(f"can't write {target}: {error.strerror or error}; {remedy}") from None
    return target


def _locked(name: str, target: Path) -> AbstractContextManager[object]:
    """Hold the file's lock; say so where another process holds it. The system takes it from one that has died."""
    lock = FileLock(f"{target}.lock")
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        say(f"waiting for another process that downloads {name} to {target.parent}")
        return lock.acquire()


def address(release: Published) -> str:
    """Give a release's address, at the mirror that MOGANET_WEIGHTS_URL names or at its own."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{release.file}" if mirror else release.url


def unreachable(url: str) -> str:
    """Say why nothing at an address answers soon, for those who can do without; "" where something does."""
    try:
        _answer(url, {"User-Agent": "moganet"}, REACH).close()
    except (_BrokenError, _RefusedError) as error:
        return str(error)
    return ""


def _download(name: str, release: Published, target: Path) -> None:
    url, partial = address(release), target.with_name(f"{target.name}.partial")
    by_hand = f"fetch it by hand and put it at {target}, or name a mirror in {MIRROR}"
    say(f"downloading {name} from {url}")
    if partial.is_symlink() or (partial.exists() and not partial.is_file()):
        partial.unlink()  # nobody else's file is written through a link of ours, and no pipe is waited for
    failures, most = 0, _size(partial)
    while True:
        try:
            _transfer(url, partial)
            break
        except _RefusedError as error:
            raise WeightsError(f"can't download {name} from {url} ({error}); {by_hand}") from None
        except _BrokenError as error:
            have = _size(partial)
            # Bytes that were there before, and were given up, are no progress.
            failures, most = (0, have) if have >= most + PROGRESS else (failures + 1, most)
            time.sleep(PAUSE * failures)
            if failures == ATTEMPTS:
                kept = f"; {have:,} bytes are kept, and the next try goes on from there" if have else ""
                raise WeightsError(f"can't download {name} from {url} ({error}){kept}; {by_hand}") from None
    from moganet.models.release import check_release  # with torch, which a file that is there can do without

    try:
        check_release(name, partial)
    except WeightsError as error:
        partial.unlink()
        raise WeightsError(f"what {url} gave is not {name}, and was removed: {error}; {by_hand}") from None
    os.replace(partial, target)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(url: str, partial: Path) -> None:
    """Append to what is there, by a range request, or start anew where the server knows no ranges."""
    have = _size(partial)
    headers = {"User-Agent": "moganet", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    response = _answer(url, headers, ANSWER)
    if isinstance(response, urllib.error.HTTPError):
        with response:
            _http_error(response, partial, have)
        return
    with response:
        start, total = _extent(response, have, partial)
        if start == 0 and response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _RefusedError("the server answers with a web page instead of the file")
        with open(partial, "r+b" if start else "wb") as file:
            file.seek(start)
            _copy(response, file, start, total)


def _answer(url: str, headers: dict[str, str], limit: float) -> Any:
    """Give the server's answer, its body unread, or the HTTPError that it is.

    It is waited for in a thread, since a head that comes byte by byte never is too late for the socket.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT))
        except Exception as error:  # urllib, http.client, ssl and proxies raise many kinds
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=limit)
    except queue.Empty:
        raise _BrokenError(f"no answer within {limit} seconds") from None
    if isinstance(answer, http.client.HTTPException | TimeoutError | ConnectionError):
        raise _BrokenError(_line(answer))
    if isinstance(answer, Exception) and not isinstance(answer, urllib.error.HTTPError):
        raise _RefusedError(_line(getattr(answer, "reason", answer)))  # no such address, no connection
    return answer


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _http_error(error: urllib.error.HTTPError, partial: Path, have: int) -> None:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total is None or int(total[1]) != have:
            partial.unlink()  # it is not the start of this file
            raise _BrokenError("the server's file is shorter than what was kept, which was removed") from None
        return
    if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
        raise _BrokenError(_line(f"HTTP {error.code} {error.reason}")) from None
    raise _RefusedError(_line(f"HTTP {error.code} {error.reason}")) from None


def _extent(response: Any, have: int, partial: Path) -> tuple[int, int | None]:
    """Give where the answer's first byte belongs, and the whole length where the server states it."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            partial.unlink(missing_ok=True)  # without it the next try asks for no range
            raise _BrokenError("the server answers with another range than was asked for; what was kept is removed")
        return have, None if match[2] == "*" else _bounded(int(match[2]))
    length = response.headers.get("Content-Length") or ""
    return 0, _bounded(int(length)) if re.fullmatch(r"[0-9]{1,20}", length) else None


def _bounded(total: int) -> int:
    if total > MAX_BYTES:
        raise _RefusedError(f"the server's file has {total:,} bytes, more than any release")
    return total


def _copy(response: Any, file: Any, start: int, total: int | None) -> None:
    done = start
    for chunk in show_bytes(_chunks(response), total, "download", start):
        file.write(chunk)
        done += len(chunk)
        if done > MAX_BYTES:
            raise _RefusedError(f"the server gives more than {MAX_BYTES:,} bytes")
    file.truncate()
    if total is not None and done != total:
        raise _BrokenError(f"the connection broke off after {done:,} of {total:,} bytes")


def _chunks(response: Any) -> Iterator[bytes]:
    """Give what comes as soon as it comes, so that a connection that is lost costs nothing that was there."""
    since, came = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)
        except Exception as error:  # http.client's and ssl's own, the socket's; none is the disk's
            raise _BrokenError(_line(error)) from None
        if not chunk:
            return
        yield chunk
        came += len(chunk)
        passed = time.monotonic() - since
        if passed > WINDOW:
            if came < SLOWEST * passed:
                raise _BrokenError(f"it came at {came / passed:,.0f} bytes a second")
            since, came = time.monotonic(), 0
