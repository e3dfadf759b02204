"""Shards that webdataset, img2dataset or tar itself made, without an index: one is made once, and kept in the cache.

Members with one name up to its first point are a sample. Its class is in `.cls`, a field of `.json`, or `.txt`: what
was taken is said, and `?label=cls`, `?label=json.FIELD`, `?label=txt` or another ending chooses; `?image=jpg` does so
where a sample has several images.
"""

import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import JsonValue

from moganet.data.archives import LARGEST
from moganet.data.class_names import shown
from moganet.data.contents import hash_bytes
from moganet.data.formats import readable_suffixes
from moganet.data.items import LABEL_KEYS
from moganet.data.shards_index import KIND, VERSION, Index, Member, Shard, parse_index
from moganet.data.shards_make import write_index
from moganet.data.shards_names import names_of
from moganet.data.split_names import split_of
from moganet.data.within import stamp_of
from moganet.errors import DataError, OutputError, first_line
from moganet.files import cache_folder, read_small
from moganet.notices import say
from moganet.progress import show_progress

LARGEST_LABEL = 1 << 20  # bytes of a .json, .txt or .cls
FIELDS = tuple(dict.fromkeys((*LABEL_KEYS, "class_id", "class_name", "cls", "category")))
NAMES = ("classnames.txt", "class_names.txt", "classes.txt", "labels.txt")
MOST_NAMES = 1 << 24  # bytes
HOW = "say which: shards:PLACE?label=cls, ?label=json.FIELD or ?label=txt"
Value = int | str | tuple[int | str, ...]  # what a sample's label says


@dataclass
class _Sample:
    """A sample's image, and its other members' contents by their endings."""

    key: str
    images: dict[str, tuple[str, int, int, str]]  # by ending: name, start, size, hash
    others: dict[str, bytes]


@dataclass
class _Found:
    """What was found of a shard: its images, and what their labels say."""

    name: str
    size: int
    images: list[tuple[str, int, int, str]] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)


@dataclass
class _Counted:
    """What is said of all shards."""

    without_image: list[str] = field(default_factory=list)
    without_label: list[str] = field(default_factory=list)
    without_name: list[str] = field(default_factory=list)  # members that are of no sample


def index_of(folder: Path, pattern: str | None, asked: Mapping[str, str]) -> Index:
    """Give the index of a folder's shards, made once. Raises DataError for what can't be had, and how it can."""
    names = names_of(folder, pattern)
    stamps = [(name, *stamp_of(folder / name)) for name in names]
    told = json.dumps([VERSION, str(folder), stamps, asked.get("label"), asked.get("image"), _class_file_stamp(folder)])
    kept = cache_folder() / "shards" / f"{hashlib.sha256(told.encode(errors='replace')).hexdigest()[:32]}.json"
    if kept.is_file():
        try:
            return parse_index(kept.read_bytes(), str(kept))
        except (DataError, OSError):  # it is made again
            pass
    what = f"the {len(names)} shards of {folder} have no index.json: it is made once, which reads all of them"
    say(f"{what}, and kept in the cache (moganet shards index {folder} writes it beside them)")
    index = make_index(folder, pattern, asked)
    try:
        write_index(kept, index)
    except OutputError as error:
        say(f"the index of {folder} can't be kept, and is made again the next time: {error}")
    return index


def make_index(folder: Path, pattern: str | None, asked: Mapping[str, str]) -> Index:
    """Read all shards, and give their index."""
    names = names_of(folder, pattern)
    label, notes, counted = _decide(folder / names[0], asked), list[str](), _Counted()
    shards = show_progress(names, len(names), "index shards")
    found = [_read_shard(folder, name, label, asked.get("image"), counted) for name in shards]
    _check(folder, counted, notes, label)
    every = [value for one in found for value in one.values]
    if not every:
        raise DataError(f"the {len(names)} shards of {folder} have no image")
    if label == "txt" and "label" not in asked and len(set(every)) > len(every) / 2:
        what = f"the .txt of {folder} are {len(set(every)):,} different texts for {len(every):,} images"
        raise DataError(f"{what}, as captions are and classes are not; {HOW}")
    class_names, numbers, named = _numbered(folder, every)
    taken = f"took {_said(label)} of {folder} for the class; choose otherwise by ?label="
    notes += [*([] if "label" in asked else [taken]), *named]
    kind = "classes" if any(isinstance(value, tuple) for value in every) else "class"
    targets: Iterator[JsonValue] = iter([*one] if kind == "classes" else one[0] for one in numbers)
    splits: dict[Any, tuple[Shard, ...]] = {}
    places = Counter[str]()
    for one, split in zip(found, _splits(folder, names), strict=True):
        members = [Member(*image, place, next(targets)) for place, image in enumerate(one.images, places[split])]
        places[split] += len(members)
        splits[split] = (*splits.get(split, ()), Shard.of(one.name, one.size, members))
    shared: dict[str, JsonValue] = {"notes": [*notes]}
    return Index(what=KIND, version=VERSION, class_names=class_names, kind=kind, shared=shared, splits=splits)


def _splits(folder: Path, names: Sequence[str]) -> list[str]:
    """Give the split of each shard, by its folders' names or its own."""
    found = [next((s for part in reversed(PurePosixPath(name).parts) if (s := split_of(part))), None) for name in names]
    known = {split for split in found if split}
    if None in found and known:
        lost = names[found.index(None)]
        what = f"some shards of {folder} are called by their split ({', '.join(sorted(known))}), and {lost} is not"
        raise DataError(f"{what}; rename it, or name the shards: shards:{folder}/NAMES-*.tar")
    return [split or "train" for split in found]


def _samples(path: Path, wanted: str | None, passed: list[str]) -> Iterator[_Sample]:
    """Give a shard's samples. wanted: the ending whose contents are wanted; None: all that are short. passed: gets the
    names of what is no part of a sample.

    Raises DataError for a tar that is damaged or cut off.
    """
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as raw:
            for key, members in groupby(_members(tar, passed), lambda one: one[0]):
                yield _sample(path, key, [(ending, info) for _, ending, info in members], raw, wanted)
            raw.seek(tar.offset)
            if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{path} is cut off: its end is missing; fetch it again")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no tar, or is damaged or cut off ({first_line(error)}); fetch it again") from None


def _members(tar: tarfile.TarFile, passed: list[str]) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    while (info := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # or all would be kept
        folder, _, name = info.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if info.isreg() and stem and ending:
            yield f"{folder}/{stem}", ending.lower(), info
        elif not info.isdir():
            passed.append(info.name)


def _sample(
    path: Path, key: str, members: Sequence[tuple[str, tarfile.TarInfo]], raw: Any, wanted: str | None
) -> _Sample:
    sample = _Sample(key.lstrip("/"), {}, {})
    for ending, info in members:
        if ending in sample.images or ending in sample.others:
            raise DataError(f"{path} has two members {info.name}: two samples have one name; write them anew")
        is_image = f".{ending.rpartition('.')[2]}" in readable_suffixes()
        if not is_image and wanted is not None and ending != wanted:
            continue
        if info.size > (LARGEST if is_image else LARGEST_LABEL):
            if is_image:
                raise DataError(f"{path}/{info.name} is larger than {LARGEST:,} bytes, as no image is")
            continue
        raw.seek(info.offset_data)
        content = raw.read(info.size)
        if len(content) < info.size:
            raise DataError(f"{path} is cut off within {info.name}; fetch it again")
        if is_image:
            sample.images[ending] = (info.name, info.offset_data, info.size, hash_bytes(content).hex())
        else:
            sample.others[ending] = content
    return sample


def _decide(path: Path, asked: Mapping[str, str]) -> str:
    """Choose what tells the class ("cls", "json.label", "txt"), by the first shard's samples that have an image."""
    if label := asked.get("label"):
        return label
    endings, fields, number = Counter[str](), Counter[str](), 0
    for sample in _samples(path, None, []):
        if sample.images:
            number += 1
            endings.update(sample.others)
            fields.update(_object(sample.others.get("json", b"{}"), path, sample.key))
        if number == 1000:
            break
    if not number:
        raise DataError(f"{path} has no images (members called NAME.jpg, NAME.png, …)")
    if endings["cls"]:
        return "cls"
    usual = [name for name in FIELDS if fields[name]]
    if len(usual) > 1:
        raise DataError(
            f"the .json of {path} have {shown(usual)}, which may all be the class; say ?label=json.{usual[0]}"
        )
    if usual:
        return f"json.{usual[0]}"
    if endings["txt"]:
        return "txt"
    there = f" (beside images: {shown(f'.{one}' for one in endings)})" if endings else ""
    inside = f"; .json has {shown(fields)}" if fields else ""
    raise DataError(f"nothing in {path} tells the class of its images{there}{inside}; {HOW}")


def _object(content: bytes, path: Path, key: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the .json of {key} in {path} is none: {first_line(error)}") from None
    return found if isinstance(found, dict) else {"": found}


def _read_shard(folder: Path, name: str, label: str, image: str | None, counted: _Counted) -> _Found:
    path = folder / name
    found = _Found(name, path.stat().st_size)
    for sample in _samples(path, "json" if label.startswith("json.") else label, counted.without_name):
        one = _image(sample, path, image, label)
        value = _value(sample, path, label)
        if one is None:
            counted.without_image.append(f"{path}/{sample.key}")
        elif value is None:
            counted.without_label.append(f"{path}/{sample.key}")
        else:
            found.images.append(one)
            found.values.append(value)
    return found


def _image(sample: _Sample, path: Path, asked: str | None, label: str) -> tuple[str, int, int, str] | None:
    if asked is not None:
        return sample.images.get(asked.lower())
    if len(sample.images) > 1:
        what = f"{path}/{sample.key} has several images, {shown(f'.{one}' for one in sample.images)}"
        raise DataError(f"{what}; say which is meant: ?image={next(iter(sample.images))}")
    return next(iter(sample.images.values()), None)


def _value(sample: _Sample, path: Path, label: str) -> Value | None:
    """Give what a sample's label says; None where it has none."""
    ending, _, key = label.partition(".") if label.startswith("json.") else (label, "", "")
    if (content := sample.others.get(ending)) is None:
        return None
    said: Any
    if key:
        said = _object(content, path, sample.key).get(key)
    else:
        try:
            said = content.decode().strip()
        except UnicodeDecodeError:
            raise DataError(f"the .{ending} of {sample.key} in {path} is no text; {HOW}") from None
    if said is None or said == "":
        return None
    values = said if isinstance(said, list) else [said]
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in values):
        what = f"{_said(label)} of {sample.key} in {path} is {str(said)[:60]!r}"
        raise DataError(f"{what}, which is neither a class's name or number nor a list of such; {HOW}")
    plain = [int(one) if isinstance(one, str) and re.fullmatch(r"-?\d{1,18}", one) else one for one in values]
    return tuple(dict.fromkeys(plain)) if isinstance(said, list) else plain[0]


def _check(folder: Path, counted: _Counted, notes: list[str], label: str) -> None:
    if counted.without_label:
        number, first = len(counted.without_label), counted.without_label[0]
        raise DataError(f"{number:,} images of {folder} have no {_said(label)}, the first is {first}; add it, or {HOW}")
    if counted.without_image:
        number, first = len(counted.without_image), counted.without_image[0]
        notes.append(f"passed over: {number:,} samples of {folder} without an image, the first is {first}")
    if counted.without_name:
        number, first = len(counted.without_name), counted.without_name[0]
        notes.append(f"passed over: {number:,} members of shards of {folder} without an ending, the first is {first}")


def _said(label: str) -> str:
    ending, _, key = label.partition(".") if label.startswith("json.") else (label, "", "")
    return f"{key!r} of .json" if key else f".{ending}"


def _numbered(folder: Path, values: Sequence[Value]) -> tuple[tuple[str, ...], list[list[int]], list[str]]:
    """Give the classes' names, the numbers of each value's classes among them, and a note where names are guessed."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    every = {one for row in rows for one in row}
    if not every:
        raise DataError(f"no image of {folder} has a class")
    numbers = sorted(one for one in every if isinstance(one, int))
    if len(numbers) < len(every):  # names, some of which may look like numbers
        place = {name: i for i, name in enumerate(sorted(map(str, every)))}
        return tuple(place), [[place[str(one)] for one in row] for row in rows], []
    named = _class_file(folder)
    if named is not None:
        names = _class_names(named)
        if numbers[0] < 0 or numbers[-1] >= len(names):
            raise DataError(f"{named} names {len(names)} classes, and an image of {folder} has class {numbers[-1]}")
        note = f"took {named} for the names of classes 0 to {len(names) - 1}"
        return names, [[int(one) for one in row] for row in rows], [note]
    place = {str(number): i for i, number in enumerate(numbers)}
    note = f"the {len(numbers)} classes of {folder} are numbers; {NAMES[0]} beside the shards would name them"
    return tuple(place), [[place[str(one)] for one in row] for row in rows], [note]


def _class_file(folder: Path) -> Path | None:
    return next((path for one in (folder, folder.parent) for name in NAMES if (path := one / name).is_file()), None)


def _class_file_stamp(folder: Path) -> tuple[Any, ...]:
    found = _class_file(folder)
    return () if found is None else (str(found), *stamp_of(found))


def _class_names(path: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in read_small(path, MOST_NAMES).splitlines() if line.strip())
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a class twice; name them apart")
    return names
