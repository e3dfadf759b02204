"""Shards as a data source: `shards:FOLDER_OR_URL`, by their index in any order, here or over a network.

`?order=shards` goes through the shards in a random order instead, each from its beginning, and shuffles within a
`?buffer=` of images: for disks and networks that give what lies together faster than what lies apart.
"""

from moganet.data.contents import ImageFile
from moganet.data.shards_files import FoundShards, find_shards
from moganet.data.shards_index import INDEX
from moganet.data.shards_kind import Told
from moganet.data.shards_targets import read_targets
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS, SplitName


def open_shards(path: str | None) -> Dataset:
    """Open shards by their index; those that webdataset or img2dataset wrote are indexed once.

    Raises DataError for a shard that is missing or has another size, for an index that is damaged, and for images of
    which no class is found. UnreachableError where a network fails.
    """
    found = find_shards(path)
    index, notes = found.index, found.notes
    splits: dict[str, Split] = {name: _split(found, name) for name in index.splits}
    splits |= {name: splits[first] for name, first in index.same.items()}
    ordered: dict[str, Split] = {name: splits[name] for name in SPLITS if name in splits}
    if "train" not in ordered and len(ordered) == 1:
        (name,) = ordered
        notes = (*notes, f"{found.spec} has shards of {name} alone, which are taken for a set that is not divided")
        ordered = {"train": ordered[name]}
    return Dataset(found.spec, index.class_names, ordered, notes=notes)


def _split(found: FoundShards, name: SplitName) -> FileSplit:
    store, index, shards = found.store, found.index, found.index.splits[name]
    order, members, files = found.images(name)
    values = [shards[s].targets[i] for s, i in order]
    told = Told(values, [s for s, _ in order], [one.name for one in shards], store, index.class_names, index.shared)
    groups = [(shards[s].groups or ())[i] for s, i in order] if all(s.groups is not None for s in shards) else None
    known: dict[ImageFile, bytes] = {file: members.hash_of(i) for i, file in enumerate(files)}
    targets = read_targets(index.kind, told, f"{store}/{INDEX}")
    return FileSplit(files, targets, groups=groups, known=known, buffer=found.buffer)
