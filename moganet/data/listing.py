"""The image files that people name: paths, folders, patterns, and "-" for a list on standard input."""

import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from moganet.data.scan import list_images
from moganet.files import read_names, typed_path
from moganet.results import LeftOut


def list_files(patterns: Iterable[str | Path]) -> tuple[list[Path], list[LeftOut]]:
    """Give the image files that paths, folders, globs and "-" name, each once, and what names nothing."""
    paths: list[Path] = []
    missing: list[LeftOut] = []
    for pattern in _expand_stdin(patterns):
        try:
            found = _expand(pattern)
        except OSError as error:  # a name that is too long, a folder that may not be searched
            missing.append(LeftOut(file=pattern, reason=str(error.strerror)))
            continue
        odd = [path for path in found if not path.is_file() and path.exists()]  # a pipe may never give an end
        paths += [path for path in found if path not in odd]
        missing += [LeftOut(file=str(path), reason="it is neither a file nor a folder") for path in odd]
        missing += [] if found else [LeftOut(file=pattern, reason=_why_nothing(pattern))]
    return list(dict.fromkeys(paths)), missing


def _why_nothing(pattern: str) -> str:
    if Path(pattern).is_dir():
        return "the folder has no images"
    return "the pattern names no file" if glob.has_magic(pattern) else "there is no such file"


def _expand(pattern: str) -> list[Path]:
    path = typed_path(pattern)
    matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    return [file for match in matches for file in (list_images(match) if match.is_dir() else [match])]


def _expand_stdin(patterns: Iterable[str | Path]) -> Iterator[str]:
    for pattern in map(str, patterns):
        yield from read_names(sys.stdin) if pattern == "-" else [pattern]
