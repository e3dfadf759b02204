"""How many processors' time the container of this process may take: the CPU quota of its control groups, v1 and v2.

Linux says in /proc/self/cgroup which groups a process is in, and in /proc/self/mountinfo where they lie. A group may
have no quota and lie within one that has, so all are asked, from the own one up to the mount.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

LIMIT = 1 << 22  # bytes; /proc's files have a few thousand
ESCAPE = re.compile(r"\\([0-7]{3})")  # of spaces in the paths of mountinfo
GROUPS = "0::/\n1:cpu:/"  # where /proc does not say
USUAL = "0 0 0 / /sys/fs/cgroup - cgroup2 - -\n0 0 0 / /sys/fs/cgroup/cpu - cgroup - cpu"


@cache
def quota_in_cores(root: Path = Path("/")) -> float | None:
    """Give the processors that the quota is worth, 2.0 or 0.5 say; None where there is none, or it can't be read.

    root: where the system's files lie.
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Give the folders of this process's groups that may have a CPU quota, and of all groups around them."""
    mounts = list(_mounts(_text(root / "proc/self/mountinfo"), root)) or list(_mounts(USUAL, root))
    for line in (_text(root / "proc/self/cgroup") or GROUPS).splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        is_v2 = number == "0" and not controllers
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        for kind, options, inside, folder in mounts:
            if kind == ("cgroup2" if is_v2 else "cgroup") and (is_v2 or "cpu" in options.split(",")):
                yield from _up(folder, _within(path, inside))


def _mounts(text: str, root: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Give of each mount its kind, its own options, which folder of its file system it shows, and where."""
    for line in text.splitlines():
        place, _, what = line.partition(" - ")
        fields, (kind, _, options) = place.split(), (*what.split(), "", "", "")[:3]
        if len(fields) > 4 and kind.startswith("cgroup"):
            inside, folder = (ESCAPE.sub(lambda found: chr(int(found[1], 8)), text) for text in fields[3:5])
            yield kind, options, inside, root / folder.lstrip("/")


def _within(path: str, inside: str) -> PurePosixPath:
    """Give a group's place below a mount; a container may be told paths of the machine around it, which has it not."""
    group = PurePosixPath(path)
    below = group.relative_to(inside) if group.is_relative_to(inside) else PurePosixPath(path.lstrip("/"))
    return PurePosixPath() if ".." in below.parts else below


def _up(mount: Path, below: PurePosixPath) -> Iterator[Path]:
    for part in (below, *below.parents):
        yield mount / part


def _quota(folder: Path) -> float | None:
    limit, period = (*_text(folder / "cpu.max").split(), "", "")[:2]  # v2: "200000 100000" or "max 100000"
    if not limit:
        limit, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))  # v1: -1 is none
    with suppress(ValueError):
        microseconds, each = float(limit), float(period or 100_000)
        return microseconds / each if microseconds > 0 and each > 0 else None
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:LIMIT].strip()
    except OSError:
        return ""
