"""Where the images of shards lie, by their index: what a place names, which shards are there, and each image's file."""

import re
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from urllib.parse import parse_qsl

from moganet.data.paths import exists
from moganet.data.shards_index import INDEX, PARTS, Index, in_order, read_index
from moganet.data.shards_names import names_in_braces
from moganet.data.shards_read import Members, Place
from moganet.data.split_names import SplitName
from moganet.data.stores import Local, Remote, Store, is_address, sizes, store_of
from moganet.data.within import Within
from moganet.errors import DataError, choose_of
from moganet.files import typed_path

ORDERS = ("shuffle", "shards")
KEYS = ("order", "buffer", "label", "image")  # the last two of shards without an index
BUFFER = 10_000  # images
HOW = "say order=shuffle or order=shards, and buffer=IMAGES"


@dataclass(frozen=True)
class FoundShards:
    """Shards that are there and whole. buffer: images that are shuffled at a time; 0: all. notes: what was taken."""

    spec: str
    store: Store
    index: Index
    buffer: int
    notes: tuple[str, ...]

    def images(self, split: SplitName) -> tuple[list[tuple[int, int]], Members, list[Within]]:
        """Give the order of a split's images, by shard and place in it, what reads them, and their files."""
        shards = self.index.splits[split]
        order, names = in_order(shards), [shard.name for shard in shards]
        places = [Place(s, shards[s].offsets[i], shards[s].sizes[i], shards[s].hashes[i]) for s, i in order]
        members = Members(self.store, names, places)
        return order, members, members.files([shards[s].names[i] for s, i in order])


def find_shards(path: str | None) -> FoundShards:
    """Find shards and their index; those that webdataset or img2dataset wrote are indexed once.

    Raises as `open_shards` does.
    """
    if not path:
        raise DataError("the source 'shards' needs a place: --data shards:FOLDER or shards:URL")
    place, asked = _divided(path)
    buffer = _buffer(asked)
    where, pattern = _folder_and_names(place)
    store = store_of(where)
    index, notes = _read(store), tuple[str, ...]()
    query = "?" + "&".join(f"{key}={value}" for key, value in asked.items()) if asked else ""
    if index is None:
        from moganet.data.shards_foreign import index_of  # which needs torch; an index of ours does not

        assert isinstance(store, Local)  # of a network's an error says what to do
        index = index_of(store.folder, pattern, asked)
    elif unknown := [key for key in asked if key in ("label", "image")]:
        raise DataError(f"{unknown[0]}= is for shards without an index; {store}/{INDEX} says what they hold")
    elif pattern is not None:
        index, notes = _chosen(index, pattern, store)
    _check_shards(store, index)
    if isinstance(store, Remote):
        _check_parts(store)
    spec = f"shards:{store if pattern is None else f'{store}/{pattern}'}{query}"
    return FoundShards(spec, store, index, buffer, (*_said(index), *notes))


def _said(index: Index) -> tuple[str, ...]:
    """Give what was taken for what when shards of others were indexed."""
    said = index.shared.get("notes")
    return tuple(one for one in said if isinstance(one, str)) if isinstance(said, list) else ()


def is_shards(folder: Path) -> bool:
    """Tell whether a folder holds shards with an index of ours."""
    try:
        with open(folder / INDEX, "rb") as file:
            return b'"moganet shards"' in file.read(64)
    except OSError:
        return False


def _divided(path: str) -> tuple[str, dict[str, str]]:
    """Divide PLACE?KEY=VALUE&…; a question mark of an address's own, or of a name's, stays with it."""
    place, _, query = path.rpartition("?")
    if not place or (not is_address(path) and exists(typed_path(path))):
        return path, {}
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if "=" not in query or (is_address(path) and not set(asked) & set(KEYS)):
        if is_address(path):
            return path, {}
        raise DataError(f"{query!r} says nothing of shards; {HOW}")
    if unknown := [key for key in asked if key not in KEYS]:
        raise DataError(f"{unknown[0]!r} is nothing that shards know; {choose_of(unknown[0], KEYS)}")
    return place, asked


def _buffer(asked: dict[str, str]) -> int:
    order = asked.get("order", "shuffle")
    if order not in ORDERS:
        raise DataError(f"the order of shards is {order!r}; {choose_of(order, ORDERS)}")
    text = asked.get("buffer", str(BUFFER))
    if not re.fullmatch(r"[0-9]{1,12}", text) or not int(text):
        raise DataError(f"the buffer is {text!r}; it must be a number of images, 1 or more")
    if order == "shuffle" and "buffer" in asked:
        raise DataError("a buffer is for order=shards; without that all images are shuffled")
    return int(text) if order == "shards" else 0


def _folder_and_names(place: str) -> tuple[str, str | None]:
    """Give the folder of shards, and the pattern of their names where these were given."""
    folder, _, name = place.rstrip("/").rpartition("/")
    folder = folder or ("/" if place.startswith("/") else ".")
    if name == INDEX:
        return folder, None
    return (folder, name) if ".tar" in name or any(sign in name for sign in "*{[") else (place, None)


def _read(store: Store) -> Index | None:
    """Give the index; None where shards in a folder have none."""
    if isinstance(store, Local):
        if not exists(store.folder):
            raise DataError(f"there is no folder {store}; give one with shards, or make it: moganet shards make")
        if exists(store.folder / PARTS) and not exists(store.folder / INDEX):
            what = f"{store} was begun and is not whole"
            raise DataError(f"{what}; give moganet shards make its source and that folder again, which goes on")
        return read_index(store) if exists(store.folder / INDEX) else None
    try:
        return read_index(store)
    except DataError as error:
        if not str(error).startswith("there is no"):
            raise
        how = "index them where they lie: moganet shards index FOLDER"
        raise DataError(f"{error}, by which images are found; {how}, and put that file beside them") from None


def _chosen(index: Index, pattern: str, store: Store) -> tuple[Index, tuple[str, ...]]:
    """Give the index of those shards alone whose names fit a pattern, and a note."""
    fits = [re.compile(translate(name)) for name in names_in_braces(pattern)]
    every = index.shards()
    splits = {
        name: some
        for name, shards in index.splits.items()
        if (some := tuple(shard for shard in shards if any(one.fullmatch(shard.name) for one in fits)))
    }
    number = sum(map(len, splits.values()))
    if not splits:
        raise DataError(
            f"of the {len(every)} shards of {store} none is called {pattern!r}; the first is {every[0].name}"
        )
    same = {name: first for name, first in index.same.items() if first in splits}
    note = () if number == len(every) else (f"took {number} of the {len(every)} shards of {store}: {pattern}",)
    return index.changed(splits=splits, same=same), note


def _check_shards(store: Store, index: Index) -> None:
    """Raise DataError where a shard is missing or has another size than the index says."""
    shards = index.shards()
    found = sizes(store, [shard.name for shard in shards])
    missing = [shard.name for shard, size in zip(shards, found, strict=True) if size is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{store} lacks {missing[0]}{more} of its {len(shards)} shards; fetch them again")
    for shard, size in zip(shards, found, strict=True):
        if size != shard.bytes:
            what = f"{store}/{shard.name} has {size:,} bytes and not the {shard.bytes:,} of its index"
            raise DataError(f"{what}: it was cut off or replaced; fetch it again, or make the shards anew")


def _check_parts(store: Remote) -> None:
    """Raise DataError for a server that gives whole files only, of which each image would fetch one."""
    if len(store.read(INDEX, 1, 1)) != 1:
        what = f"the server of {store} gives no parts of files (range requests)"
        raise DataError(f"{what}; use another, or let fsspec keep whole shards here: shards:simplecache::{store}")
