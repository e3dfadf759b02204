"""A released file on this machine: downloaded once, resumed where it broke off, and checked before it gets its name."""

import http
import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from moganet.errors import OutputError, WeightsError
from moganet.files import PLACE_ERRORS, cache_folder
from moganet.network import VARIANTS, build_network
from moganet.network.releases import RELEASES, Release
from moganet.weights import architecture_of, check_fit, read_checkpoint

logger = logging.getLogger(__name__)
MIRROR = "MOGANET_WEIGHTS_URL"
ATTEMPTS = 5  # in a row without a byte more
PAUSE = 0.5  # seconds, times the failures so far
TIMEOUT = 30  # seconds without a byte
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
    release = RELEASES[name]
    target = (cache_dir or cache_folder() / "weights") / release.file
    if target.is_file():
        return target
    with _writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():  # else another process was faster
                _download(name, release, target)
    return target


def address(release: Release) -> str:
    """Give a release's address, at the mirror that MOGANET_WEIGHTS_URL names or at its own."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{release.file}" if mirror else release.url


@contextmanager
def _writable(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in PLACE_ERRORS:
            raise OutputError(
                f"can't write {target}: {error.strerror}; make room, or name another folder in MOGANET_CACHE"
            ) from None
        raise


def _download(name: str, release: Release, target: Path) -> None:
    url, partial = address(release), target.with_name(f"{target.name}.partial")
    by_hand = f"fetch it by hand and put it at {target}, or name a mirror in {MIRROR}"
    logger.info("downloading %s from %s", name, url)
    failures = 0
    while True:
        had = _size(partial)
        try:
            _transfer(url, partial)
            break
        except _RefusedError as error:
            raise WeightsError(f"can't download {name} from {url} ({error}); {by_hand}") from None
        except _BrokenError as error:
            failures = 0 if _size(partial) > had else failures + 1
            time.sleep(PAUSE * failures)
            if failures == ATTEMPTS:
                kept = f"; {_size(partial):,} bytes are kept, and the next try goes on from there" if had else ""
                raise WeightsError(f"can't download {name} from {url} ({error}){kept}; {by_hand}") from None
    try:
        check_release(name, partial)
    except WeightsError as error:
        partial.unlink()
        raise WeightsError(f"what {url} gave is not {name}: {error}; {by_hand}") from None
    os.replace(partial, target)


def check_release(name: str, path: Path) -> None:
    """Check a file's structure: its sums, its variant, all names and shapes. Raises WeightsError for another file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            try:
                damaged = archive.testzip()
            except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
                damaged = str(error)
        if damaged is not None:
            raise WeightsError(f"{path} is damaged: {damaged}")
    checkpoint = read_checkpoint(path)
    architecture, variant = architecture_of(checkpoint), VARIANTS[name.partition(".")[0]]
    found = {key: getattr(architecture, key) for key in variant}
    if found != variant:
        raise WeightsError(f"{path} holds a network of {found}, not {variant}")
    with torch.device("meta"):
        network = build_network(name.partition(".")[0], num_classes=architecture.num_classes)
    check_fit(checkpoint.state, network.state_dict(), path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(url: str, partial: Path) -> None:
    """Append to what is there, by a range request, or start anew where the server knows no ranges."""
    have = _size(partial)
    headers = {"User-Agent": "moganet", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            start, total = _extent(response, have)
            _refuse_page(response, start)
            with open(partial, "r+b" if start else "wb") as file:
                file.seek(start)
                _copy(response, file, start, total)
    except urllib.error.HTTPError as error:
        _http_error(error, partial, have)
    except (urllib.error.URLError, ValueError) as error:  # no such address, no connection
        raise _RefusedError(str(getattr(error, "reason", error))) from None
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from None


def _http_error(error: urllib.error.HTTPError, partial: Path, have: int) -> None:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total is None or int(total[1]) != have:
            partial.unlink()  # it is not the start of this file
            raise _BrokenError("the server's file is shorter than what was kept") from None
        return
    if error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
        raise _BrokenError(f"HTTP {error.code} {error.reason}") from None
    raise _RefusedError(f"HTTP {error.code} {error.reason}") from None


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Give where the answer's first byte belongs, and the whole length where the server states it."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise _RefusedError("the server answers with another range than was asked for")
        return have, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _refuse_page(response: Any, start: int) -> None:
    if start == 0 and response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise _RefusedError("the server answers with a web page instead of the file")


def _copy(response: Any, file: Any, start: int, total: int | None) -> None:
    done = start
    for chunk in _shown(iter(lambda: response.read(CHUNK), b""), start, total):
        file.write(chunk)
        done += len(chunk)
    file.truncate()
    if total is not None and done != total:
        raise _BrokenError(f"the connection broke off after {done:,} of {total:,} bytes")


def _shown(chunks: Iterator[bytes], start: int, total: int | None) -> Iterator[bytes]:
    """Draw a bar on stderr while the chunks pass, on a terminal only."""
    if not sys.stderr.isatty():
        yield from chunks
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("download", total=total, completed=start)
        for chunk in chunks:
            bar.update(task, advance=len(chunk))
            yield chunk
