"""The images that a batch is about: paths, folders, patterns, lists, archives, tables, data sources, URLs."""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from moganet.data.contents import ImageFile
from moganet.data.listing import list_files
from moganet.data.parquet_images import embedded_images
from moganet.data.shards_files import find_shards
from moganet.data.split_names import SPLITS
from moganet.data.stores import Remote
from moganet.data.table_columns import usual_column
from moganet.data.table_read import read_table
from moganet.data.within import Within
from moganet.errors import ConfigError, DataError, UnreachableError
from moganet.files import typed_path
from moganet.notices import say
from moganet.results import LeftOut

ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
LARGEST = 1 << 28  # bytes of an image


class UrlReader:
    """Fetches an image. What can't be fetched is that image's error: other images may lie elsewhere."""

    in_turn: ClassVar[bool] = False

    def __init__(self, path: Path, asked: str) -> None:
        folder, _, self.name = asked.rpartition("/")
        self.store = Remote(folder)

    def read(self, place: int) -> bytes:
        try:
            if (size := self.store.size(self.name)) > LARGEST:
                raise DataError(f"it has {size:,} bytes, as no image has")
            return self.store.read(self.name, 0, size)
        except UnreachableError as error:
            raise DataError(str(error)) from None


def list_inputs(named: str | Path | Sequence[str | Path]) -> tuple[list[ImageFile], list[LeftOut]]:
    """Give the images that are named, each once, in order, and what names none and why.

    Raises DataError where there is no image: a slip, more likely than a wish for rows of errors alone.
    """
    files, missing = list[ImageFile](), list[LeftOut]()
    for name in map(str, [named] if isinstance(named, str | Path) else named):
        some, lost = _of_source(name) if _is_source(name) else _of_paths(name)
        files += some
        missing += lost
    if not files:
        why = f": {missing[0].file}: {missing[0].reason}" if missing else ""
        raise DataError(f"nothing to predict{why}; give images, folders, patterns, lists, shards:URL or URLs")
    found: dict[str, ImageFile] = {}
    for file in files:
        found.setdefault(str(file), file)
    return list(found.values()), missing


def part_of(files: Sequence[ImageFile], shard: tuple[int, int]) -> list[ImageFile]:
    """Give the part of all images that one of several jobs does: by the hash of their names, whatever their order."""
    number, of = shard
    return [file for file in files if _bucket(str(file), of) == number - 1] if of > 1 else list(files)


def _bucket(name: str, of: int) -> int:
    return int.from_bytes(sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) % of


def parse_shard(text: str | None) -> tuple[int, int]:
    """Give (I, N) of "I/N". Raises ConfigError for what is none."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", "1/1" if text is None else text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"shard is {text!r}; give I/N, from 1/4 to 4/4 for four jobs")
    return int(found[1]), int(found[2])


def _is_source(name: str) -> bool:
    prefix, colon, rest = name.partition(":")
    return bool(colon) and not rest.startswith("//") and prefix.isalnum() and not typed_path(name).exists()


def _of_source(spec: str) -> tuple[list[ImageFile], list[LeftOut]]:
    name, _, place = spec.partition(":")
    if name == "shards":  # of whose images their targets, which need torch, say nothing
        found = find_shards(place)
        for note in found.notes:
            say(note, doubtful=True)
        return [file for split in SPLITS if split in found.index.splits for file in found.images(split)[2]], []

    from moganet.data import FileSplit, open_data

    dataset, files = open_data(spec), list[ImageFile]()
    for name, split in dataset.distinct().items():
        if not isinstance(split, FileSplit):
            what = f"the images of {spec} ({name}) are no files"
            raise DataError(f"{what}; write them with moganet shards make, or use moganet predict --data")
        files += split.files
    return files, []


def _of_paths(name: str) -> tuple[list[ImageFile], list[LeftOut]]:
    if ADDRESS.match(name):
        return [_of_url(name)], []
    path = typed_path(name)
    if path.suffix.lower() in (".parquet", ".pq") and path.is_file():
        column = usual_column(read_table(path), "path")
        assert column is not None
        if (images := embedded_images(path, column)) is not None:
            return [*images], []
    files, missing = list_files([name])
    return [*files, *_urls(missing)], [one for one in missing if not ADDRESS.match(one.file)]


def _urls(missing: Sequence[LeftOut]) -> Iterator[Within]:
    """Give the addresses among the lines of a list, which are no files."""
    yield from (_of_url(one.file) for one in missing if ADDRESS.match(one.file))


def _of_url(url: str) -> Within:
    reader: Any = UrlReader
    return Within(Path(url), 0, url, reader, asked=url)
