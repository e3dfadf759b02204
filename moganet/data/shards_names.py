"""Which shards of a folder are meant: all, or those of a pattern as webdataset and the shell write it."""

import re
from itertools import product
from pathlib import Path

from moganet.data.formats import TAR_SUFFIXES
from moganet.errors import DataError


def names_in_braces(pattern: str) -> list[str]:
    """Give the names that webdataset's braces stand for: a-{000..012}.tar, {train,val}-0.tar; at most a million."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if number % 2 else [part] for number, part in enumerate(parts)]
    total = 1
    for some in choices:
        total *= len(some)
    if total > 1_000_000:
        raise DataError(f"{pattern!r} stands for {total:,} names, more than any set of shards has")
    return ["".join(one) for one in product(*choices)]


def _choices(text: str) -> list[str]:
    if span := re.fullmatch(r"(\d{1,12})\.\.(\d{1,12})", text):
        first, last = int(span[1]), int(span[2])
        if last - first >= 1_000_000:
            raise DataError(f"{{{text}}} stands for more names than any set of shards has")
        return [f"{number:0{len(span[1])}d}" for number in range(first, last + 1)]
    return text.split(",") if "," in text else [f"{{{text}}}"]


def names_of(folder: Path, pattern: str | None) -> list[str]:
    """Give the names of shards within a folder, in order."""
    if pattern is None:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.tar") if path.is_file())
        packed = [path for path in folder.rglob("*.tar.*") if path.name.endswith(TAR_SUFFIXES)]
        if packed:
            raise DataError(f"{packed[0]} is compressed, so that no image in it can be found at once; unpack it")
        if not found:
            raise DataError(f"{folder} has neither index.json nor shards (.tar); make some: moganet shards make")
        return found
    names = list[str]()
    for name in names_in_braces(pattern):
        fitting = sorted(folder.glob(name)) if any(sign in name for sign in "*[?") else [folder / name]
        if lost := [path for path in fitting or [folder / name] if not path.is_file()]:
            raise DataError(f"there is no shard {lost[0]}")
        names += [path.name for path in fitting if path.name.endswith(TAR_SUFFIXES)]
    if other := next((name for name in names if not name.endswith(".tar")), None):
        raise DataError(f"{folder / other} is compressed, so that no image in it can be found at once; unpack it")
    if not names:
        raise DataError(f"{pattern!r} names no shard (.tar) in {folder}")
    return list(dict.fromkeys(names))
