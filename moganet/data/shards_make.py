"""Shards of a data set: tars of a size as webdataset has them, and `index.json`, by which any image is found at once.

A shard appears whole, and then a note of what is in it (`.parts/`), so that what was stopped goes on behind the last.
Images lie in a random order (of seed 0), for readers that know no index and shuffle within a buffer only; the index
keeps their order in the source, and with it the set's identity.
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from moganet.data import formats
from moganet.data.archives import LARGEST
from moganet.data.contents import EmbeddedImage, hash_bytes
from moganet.data.item_split import ItemSplit
from moganet.data.shards_index import INDEX, KIND, PARTS, VERSION, Index, Member, Shard, parse_index
from moganet.data.shards_kind import Kind, Written
from moganet.data.shards_targets import KINDS, kind_of
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS, SplitName
from moganet.data.within import Within
from moganet.errors import DataError, MogaNetError, OutputError, reason_of
from moganet.files import atomic_path, clear_partials, read_small
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Record
from moganet.safe_names import safe_name

PLAN = "plan"
CHUNK = 64  # images that are read ahead
LONGEST_STEM = 60  # letters of an image's own name in a member's
BLOCK = tarfile.BLOCKSIZE
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by channels


class Part(Record):
    """A shard that is written, how many of its split's images that took, and those that could not be read."""

    shard: Shard
    taken: int
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Made:
    """What was made: the index, what could not be read, and how many shards were there already."""

    index: Index
    left_out: tuple[LeftOut, ...]
    before: int = 0


@dataclass(frozen=True)
class _Item:
    """An image as it goes into a shard; error: why it does not."""

    place: int
    name: str
    suffix: str = ""
    content: bytes = b""
    beside: Written | None = None
    group: str | None = None
    error: str = ""

    @property
    def room(self) -> int:  # bytes of a tar, headers among them
        beside = 0 if self.beside is None else len(self.beside.content)
        return sum(BLOCK + -(-size // BLOCK) * BLOCK for size in (len(self.content), beside))


def make_shards(dataset: Dataset, out: Path, size: int, progress: Progress = no_progress) -> Made:
    """Write a data set into shards of at most `size` bytes each (a larger image has one of its own).

    out: a new folder, or one in which the same was begun. Raises DataError for a set that shards can't hold,
    OutputError for a folder with something else in it.
    """
    kinds = {kind_of(split.targets) for split in dataset.splits.values()}
    if len(kinds) > 1:
        raise DataError(f"the splits of {dataset.spec} have targets of several kinds: {', '.join(sorted(kinds))}")
    _check_names(dataset)
    (kind,) = kinds
    plan = _plan(dataset, kind, size)
    if (before := _begin(out, plan)) is not None:
        return Made(before, (), len(before.shards()))
    try:
        with FileLock(out / PARTS / "lock", timeout=0):
            clear_partials(out, "")
            return _make(dataset, out, _Plan(plan, kind, size), progress)
    except Timeout:
        raise OutputError(f"another process is making shards in {out}; wait for it, or choose another folder") from None


@dataclass(frozen=True)
class _Plan:
    made_of: str
    kind: str
    size: int


def _check_names(dataset: Dataset) -> None:
    for name in dataset.class_names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"the class {name!a} of {dataset.spec} has no name in UTF-8; rename it") from None


def _plan(dataset: Dataset, kind: str, size: int) -> str:
    """Give what tells a set and the options, without reading its images."""
    digest = hashlib.sha256(json.dumps([kind, size, dataset.class_names]).encode())
    for name, split in dataset.distinct().items():
        digest.update(json.dumps([name, *(split.name_of(i) for i in range(len(split)))]).encode())
        digest.update(split.targets.identity())
    return digest.hexdigest()


def _begin(out: Path, plan: str) -> Index | None:
    """Make the folder; give the index where all is made. Raises OutputError for one with something else in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = sorted(entry.name for entry in out.iterdir())
        if INDEX in there:
            return _finished(out, plan)
        if there and PARTS not in there:
            raise OutputError(f"{out} holds other files ({there[0]}); give a new folder")
        (out / PARTS).mkdir(exist_ok=True)
        begun = out / PARTS / PLAN
        if not begun.exists():
            with atomic_path(begun) as temporary:
                temporary.write_text(plan)
        elif read_small(begun, 1000, OutputError) != plan:
            what = f"in {out} shards of another set, or of another size, were begun"
            raise OutputError(f"{what}; give the same again to go on, or another folder")
    except OSError as error:
        raise OutputError(f"can't write into {out}: {error.strerror}; choose another folder") from None
    return None


def _finished(out: Path, plan: str) -> Index:
    index = parse_index((out / INDEX).read_bytes(), str(out / INDEX))
    if index.made_of != plan:
        raise OutputError(f"{out} holds the shards of another set, or of another size; give a new folder")
    for shard in index.shards():
        path = out / shard.name
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise OutputError(f"{path} is gone or damaged since; remove {out}, or give a new folder")
    return index


def _make(dataset: Dataset, out: Path, plan: _Plan, progress: Progress) -> Made:
    shards: dict[SplitName, tuple[Shard, ...]] = {}
    left_out: list[LeftOut] = []
    before = 0
    splits = dataset.distinct()
    for name in splits:
        parts, found = _make_split(dataset, name, out, plan, progress)
        shards[_split_name(name)] = tuple(part.shard for part in parts if len(part.shard))
        left_out += [one for part in parts for one in part.left_out]
        before += found
        if not shards[_split_name(name)]:
            raise DataError(f"no image of {name} can be read; the first: {left_out[-1].reason}")
    first = {id(split): name for name, split in reversed(splits.items())}
    same = {_split_name(n): first[id(s)] for n, s in dataset.splits.items() if n not in splits}
    shared = KINDS[plan.kind].shared(next(iter(splits.values())).targets)
    index = Index(
        what=KIND,
        version=VERSION,
        class_names=dataset.class_names,
        kind=plan.kind,
        shared=shared,
        splits=shards,
        same=same,
        made_of=plan.made_of,
    )
    write_index(out / INDEX, index)
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return Made(index, tuple(left_out), before)


def write_index(path: Path, index: Index) -> None:
    """Write an index beside its shards."""
    with atomic_path(path) as temporary:
        temporary.write_text(index.model_dump_json(exclude_unset=True), encoding="utf-8")


def _split_name(name: str) -> SplitName:
    return next(split for split in SPLITS if split == name)


def _make_split(dataset: Dataset, name: str, out: Path, plan: _Plan, progress: Progress) -> tuple[list[Part], int]:
    """Write a split's shards; give them, and how many were there."""
    split, parts = dataset.splits[name], list[Part]()
    while (part := _read_part(out, f"{name}-{len(parts):06d}")) is not None:
        parts.append(part)
    before = len(parts)
    order = np.random.default_rng(0).permutation(len(split))[sum(part.taken for part in parts) :].tolist()
    items = _items(split, order, KINDS[plan.kind], dataset.class_names)
    coming = _Coming(progress(items, len(order), f"write {name}"))
    while coming.peek() is not None:
        stem = f"{name}-{len(parts):06d}"
        part = _write_shard(out / f"{stem}.tar", coming, plan.size)
        with atomic_path(out / PARTS / f"{stem}.json") as temporary:
            temporary.write_text(part.model_dump_json(exclude_unset=True), encoding="utf-8")
        parts.append(part)
    return parts, before


def _read_part(out: Path, stem: str) -> Part | None:
    """Give what is noted of a shard, if that lies there as it was written."""
    try:
        part = Part.model_validate_json((out / PARTS / f"{stem}.json").read_bytes())
        whole = not len(part.shard) or (out / part.shard.name).stat().st_size == part.shard.bytes
    except (OSError, ValueError):
        return None
    return part if whole else None


class _Coming:
    """Items, of which the next one can be looked at."""

    def __init__(self, items: Iterable[_Item]) -> None:
        self.items, self.next = iter(items), deque[_Item]()

    def peek(self) -> _Item | None:
        if not self.next:
            self.next.extend(item for item in [next(self.items, None)] if item is not None)
        return self.next[0] if self.next else None

    def take(self) -> _Item:
        assert self.peek() is not None
        return self.next.popleft()


def _items(split: Split, order: Sequence[int], kind: Kind, class_names: Sequence[str]) -> Iterator[_Item]:
    """Read images in an order, by threads a little ahead; a caller's own by one."""
    threads = 1 if isinstance(split, ItemSplit) else None
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(order), CHUNK):
            yield from pool.map(lambda place: _item(split, place, kind, class_names), order[first : first + CHUNK])


def _item(split: Split, place: int, kind: Kind, class_names: Sequence[str]) -> _Item:
    name = split.name_of(place)
    try:
        suffix, content = _encoded(split, place)
        if len(content) > LARGEST:
            raise DataError(f"{name} is larger than {LARGEST:,} bytes, as no image is")
        beside = kind.write(split.targets, place, class_names)
    except (DataError, OSError) as error:
        return _Item(place, name, error=str(error) if isinstance(error, MogaNetError) else reason_of(error))
    group = None if split.groups is None else split.groups[place]
    return _Item(place, name, suffix, content, beside, group)


def _encoded(split: Split, place: int) -> tuple[str, bytes]:
    """Give an image's file as it is, and its ending; what is no file becomes a PNG, which loses nothing."""
    if not isinstance(split, FileSplit):
        return "png", _as_png(split, place)
    file = split.files[place]
    if isinstance(file, EmbeddedImage):
        content = bytes(file)
    else:
        loaded = file.load() if isinstance(file, Within) else file.read_bytes()
        assert isinstance(loaded, bytes)  # no source has videos
        content = loaded
    suffix = PurePosixPath(file.name).suffix.lower()
    return (suffix if suffix in formats.readable_suffixes() else _suffix_of(content)).removeprefix("."), content


def _suffix_of(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content), formats=formats.names_for(content[:64])) as image:
            return f".{(image.format or 'img').lower()}"
    except Exception:  # whoever reads it says what is wrong
        return ".img"


def _as_png(split: Split, place: int) -> bytes:
    if isinstance(split, ItemSplit) and split.items.deep:
        raise DataError(f"{split.name_of(place)} has more than 8 bits; give files, which are kept as they are")
    pixels = split[place].image.numpy()
    if len(pixels) not in MODES:
        raise DataError(f"{split.name_of(place)} has {len(pixels)} channels, and a PNG has 1 to 4")
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def _write_shard(path: Path, coming: _Coming, size: int) -> Part:
    """Write the images that come, as many as a shard of a size takes, one at the least."""
    members, groups, left_out, taken = list[Member](), list[str](), list[LeftOut](), 0
    with atomic_path(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            while (item := coming.peek()) is not None:
                if members and not item.error and _closed(tar.offset + item.room) > size:
                    break
                coming.take()
                taken += 1
                if item.error:
                    left_out.append(LeftOut(file=item.name, reason=item.error))
                    continue
                members.append(_add(tar, item))
                if item.group is not None:
                    groups.append(item.group.encode("utf-8", "backslashreplace").decode())
        number = temporary.stat().st_size
    if not members:
        path.unlink()
    return Part(shard=Shard.of(path.name, number, members, groups), taken=taken, left_out=tuple(left_out))


def _closed(offset: int) -> int:
    """Give the bytes of a tar whose last member ends there; a name that isn't ASCII takes two headers more."""
    return -(-(offset + 6 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _add(tar: tarfile.TarFile, item: _Item) -> Member:
    assert item.beside is not None
    stem = safe_name(PurePosixPath(item.name.replace("\\", "/")).stem).replace(".", "_")[:LONGEST_STEM]
    key = f"{item.place:08d}-{stem}"
    name = f"{key}.{item.suffix}"
    start = _member(tar, name, item.content)
    target = item.beside.told(_member(tar, f"{key}.{item.beside.suffix}", item.beside.content))
    return Member(name, start, len(item.content), hash_bytes(item.content).hex(), item.place, target)


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Write a member; give where its content begins."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
    return tar.offset - -(-len(content) // BLOCK) * BLOCK
