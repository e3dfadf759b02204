"""What stands in which shard: class names, and of each image where its bytes lie, their hash, and its target.

`index.json` lies beside the shards. It may come from anywhere: what it says is checked before it is used.
"""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, StringConstraints, ValidationError, model_validator

from moganet.data.archives import LARGEST
from moganet.data.split_names import SplitName
from moganet.data.stores import Store
from moganet.errors import DataError
from moganet.results import Record

INDEX, PARTS = "index.json", ".parts"  # the second beside shards that are being made
KIND: Literal["moganet shards"] = "moganet shards"
VERSION: Literal[1] = 1
LARGEST_INDEX = 1 << 30  # bytes: about 10 million images
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]  # the first 16 bytes of SHA-256
Number = Annotated[int, Field(ge=0)]


class Member(NamedTuple):
    """An image in a shard: its name there, where its content begins, its bytes, their hash; its place and target."""

    name: str
    offset: int
    size: int
    hash: str
    place: int
    target: JsonValue


class Shard(Record):
    """A tar: its name and bytes, and of each image in it, in lists of one length, in the order in which they lie there.

    names: of members. offsets, sizes, hashes: of their contents. places: of the images in their split. targets: as
    their kind writes them. groups: as of a split.
    """

    name: str
    bytes: Number
    names: tuple[str, ...]
    offsets: tuple[Number, ...]
    sizes: tuple[Number, ...]
    hashes: tuple[Hash, ...]
    places: tuple[Number, ...]
    targets: tuple[JsonValue, ...]
    groups: tuple[str, ...] | None = None

    @classmethod
    def of(cls, name: str, size: int, members: Sequence[Member], groups: Sequence[str] = ()) -> Self:
        """Give what stands of a shard of so many bytes, with the images in it."""
        names, offsets, sizes, hashes, places, targets = zip(*members, strict=True) if members else ((),) * 6
        lists = {"offsets": offsets, "sizes": sizes, "hashes": hashes, "places": places, "targets": targets}
        return cls(name=name, bytes=size, names=names, **lists, **({"groups": tuple(groups)} if groups else {}))

    def __len__(self) -> int:
        return len(self.names)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or "://" in self.name or not path.parts:
            raise ValueError(f"a shard is called {self.name!r}, which leads elsewhere")
        lists = (self.offsets, self.sizes, self.hashes, self.places, self.targets, self.groups or self.names)
        if any(len(one) != len(self) for one in lists):
            raise ValueError(f"its lists of {self.name} differ in length")
        if any(
            start + size > self.bytes or size > LARGEST for start, size in zip(self.offsets, self.sizes, strict=True)
        ):
            raise ValueError(f"an image of {self.name} lies behind its end")
        return self


class Index(Record):
    """The index of a set. kind: of its targets, with what they have in common. same: splits that are another one.

    made_of: what tells the source and the options, so that what was begun goes on.
    """

    what: Literal["moganet shards"] = KIND
    version: Literal[1] = VERSION
    class_names: tuple[str, ...]
    kind: str
    shared: dict[str, JsonValue] = Field(default_factory=dict)
    splits: dict[SplitName, tuple[Shard, ...]]
    same: dict[SplitName, str] = Field(default_factory=dict)
    made_of: str = ""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("two classes have one name")
        if not set(self.same.values()) <= set(self.splits):
            raise ValueError("a split is said to be one that is not there")
        for split, shards in self.splits.items():
            every = [*chain.from_iterable(shard.places for shard in shards)]
            if len(set(every)) < len(every):
                raise ValueError(f"two images of {split} have one place")
        return self

    def shards(self) -> list[Shard]:
        """Give the shards of all splits."""
        return [shard for shards in self.splits.values() for shard in shards]


def read_index(store: Store, name: str = INDEX) -> Index:
    """Read and check an index. Raises DataError for what is none, or is damaged."""
    if (size := store.size(name)) > LARGEST_INDEX:
        raise DataError(f"{store}/{name} is larger than {LARGEST_INDEX:,} bytes, as no index of shards is")
    return parse_index(store.read(name, 0, size), f"{store}/{name}")


def parse_index(content: bytes, where: str) -> Index:
    """Give an index of its JSON; where: for messages."""
    remedy = "fetch it again, or make the shards anew: moganet shards make SOURCE OUT"
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged: it is no JSON ({error}); {remedy}") from None
    if not isinstance(said, dict) or said.get("what") != KIND:
        raise DataError(f"{where} is no index of shards that moganet made; give their folder, or make them: {remedy}")
    if said.get("version") != VERSION:
        raise DataError(f"{where} is of version {said.get('version')}, and this moganet reads {VERSION}; upgrade it")
    try:
        return Index.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where} is damaged: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}; {remedy}"
        ) from None


def in_order(shards: Sequence[Shard]) -> list[tuple[int, int]]:
    """Give the images of a split in its order: the number of each one's shard, and its number there."""
    places = [(place, s, i) for s, shard in enumerate(shards) for i, place in enumerate(shard.places)]
    return [(s, i) for _, s, i in sorted(places)]
