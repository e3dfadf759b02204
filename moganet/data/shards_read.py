"""Members of shards, read at any place by where an index says that they lie, and checked to be what it says."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moganet.data.contents import ImageFile, hash_bytes
from moganet.data.stores import Store
from moganet.data.within import Within
from moganet.errors import DataError


class Place(NamedTuple):
    """Where a member lies: its shard's number, where its content begins, its bytes, and their hash (hexadecimal)."""

    shard: int
    start: int
    size: int
    hash: str


class Members:
    """Members of a store's shards, by their places; equal where they are the same of the same store."""

    def __init__(self, store: Store, shards: Sequence[str], places: Sequence[Place]) -> None:
        self.store, self.shards = store, tuple(shards)
        self.spans: NDArray[np.int64] = np.array([place[:3] for place in places], np.int64).reshape(-1, 3)
        self.hashes = bytes.fromhex("".join(place.hash for place in places))
        told = hashlib.sha256(repr((str(store), self.shards)).encode(errors="replace") + self.spans.tobytes())
        self.identity = hashlib.sha256(told.digest() + self.hashes).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def hash_of(self, number: int) -> bytes:
        """Give the hash (16 bytes) of a member's content."""
        return self.hashes[16 * number : 16 * number + 16]

    def only(self, numbers: Sequence[int]) -> "Members":
        """Give some members as if there were no others."""
        spans = zip(self.spans[list(numbers)].tolist(), numbers, strict=True)
        places = [Place(shard, start, size, self.hash_of(number).hex()) for (shard, start, size), number in spans]
        return Members(self.store, self.shards, places)

    def files(self, names: Sequence[str]) -> list[Within]:
        """Give the members as files, by their names within their shards."""
        shards = [f"{self.store}/{name}" for name in self.shards]
        holder = Path(str(self.store))
        return [
            Within(holder, i, f"{shards[shard]}/{name}", ShardReader, asked=self)
            for i, (shard, name) in enumerate(zip(self.spans[:, 0].tolist(), names, strict=True))
        ]


class ShardReader:
    """Reads members, by any thread in any order."""

    in_turn: ClassVar[bool] = False

    def __init__(self, path: Path, asked: Members) -> None:
        self.members = asked

    def read(self, place: int) -> bytes:
        """Give a member's content. Raises DataError for one that is not what the index says."""
        members = self.members
        shard, start, size = members.spans[place].tolist()
        content = members.store.read(members.shards[shard], start, size)
        if hash_bytes(content) != members.hash_of(place):
            what = f"it is not what the index says: {members.shards[shard]} was damaged, cut off or replaced"
            raise DataError(f"{what}; fetch it again, or make the shards anew")
        return content


def by_themselves(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Give files of which those within shards know of no others: a few of many are then little to tell a process."""
    given, places = list(files), defaultdict[int, list[int]](list)
    for i, file in enumerate(files):
        if isinstance(file, Within) and isinstance(file.asked, Members):
            places[id(file.asked)].append(i)
    for some in places.values():
        within = [file for i in some if isinstance(file := files[i], Within)]
        own = within[0].asked.only([file.place for file in within])
        for number, (i, file) in enumerate(zip(some, within, strict=True)):
            given[i] = replace(file, place=number, asked=own)
    return given


def layout(files: Sequence[ImageFile]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the number of each file's shard (N,), and where in it each begins (N,); all files lie within shards."""
    numbers: dict[tuple[Any, int], int] = {}
    spans = [file.asked.spans[file.place] for file in files if isinstance(file, Within)]
    assert len(spans) == len(files)
    holders = [
        numbers.setdefault((file.asked.identity, int(span[0])), len(numbers))
        for file, span in zip(files, spans, strict=True)
        if isinstance(file, Within)
    ]
    return np.array(holders, np.int64), np.array([span[1] for span in spans], np.int64)
