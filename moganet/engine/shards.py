"""`shards`: a data set as tars that webdataset reads, with an index by which any image is found; such tars indexed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moganet.errors import ConfigError, DataError, OutputError
from moganet.files import typed_path
from moganet.notices import noted
from moganet.numbers import count
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data
    from moganet.data.shards_index import Index

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SMALLEST, LARGEST = 10**5, 10**11  # bytes of a shard
SHOWN = 5


class Shards(Result):
    """Shards that lie in a folder. images: by split. bytes: of all shards. before: shards that were there already."""

    out: str
    index: str
    kind: str
    classes: int
    images: dict[str, int]
    shards: int
    bytes: int
    before: int = 0
    unreadable: tuple[LeftOut, ...] = ()

    def lines(self) -> Iterator[str]:
        """Say what lies there, and how it is read."""
        images = ", ".join(f"{name} {number:,}" for name, number in self.images.items())
        there = f", {self.before} of which were there already" if self.before else ""
        yield f"{count(self.shards, 'shard')} in {self.out}{there}: {self.bytes / 1e6:,.1f} MB, images: {images}"
        yield from (f"can't be read, and left out: {one.file}: {one.reason}" for one in self.unreadable[:SHOWN])
        if (more := len(self.unreadable) - SHOWN) > 0:
            yield f"and {more:,} more are left out"
        yield f"index: {self.index}; read them with --data shards:{self.out}"


@noted
def make_shards(
    data: "Data",
    out: str | Path,
    size: int | str = "500MB",
    *,
    class_names: "ClassNames | None" = None,
    progress: Progress = no_progress,
) -> Shards:
    """Write a data set as shards: tars that webdataset reads, in a new folder, and `index.json` beside them.

    Images stay the bytes that they are; those that are no files become PNG. What was stopped goes on by the same call.
    data, class_names: SOURCE[:PATH], or a data set of your own, as in `train`. size: bytes of a shard at most, or
    "500MB", "2GiB".
    Raises DataError for a set that can't be opened, OutputError for a folder with something else in it.
    """
    from moganet.data import open_data
    from moganet.data.shards_make import make_shards as make

    number, folder = parse_size(size), _folder(out)
    made = make(open_data(data, class_names), folder, number, progress)
    return _result(folder, made.index, made.before, made.left_out)


@noted
def index_shards(folder: str | Path, *, label: str | None = None, image: str | None = None) -> Shards:
    """Write `index.json` beside shards that webdataset, img2dataset or tar itself made.

    label: what tells the class: "cls", "json.FIELD", "txt", or another ending [what is found, and said]. image: the
    ending of the images that are meant, where samples have several.
    Raises OutputError where there is an index, DataError for what is damaged or tells no class.
    """
    from moganet.data.shards_foreign import make_index
    from moganet.data.shards_index import INDEX
    from moganet.data.shards_make import write_index

    place = typed_path(folder)
    if not place.is_dir():
        raise DataError(f"there is no folder {folder}; give one with shards (.tar)")
    if (place / INDEX).exists():
        raise OutputError(f"{place / INDEX} is there already; remove it first")
    asked = {name: value for name, value in (("label", label), ("image", image)) if value is not None}
    index = make_index(place.absolute(), None, asked)
    write_index(place / INDEX, index)
    return _result(place, index, 0, ())


def parse_size(size: int | str) -> int:
    """Give bytes of a number, or of a text with a unit: 500MB, 1.5GB, 2GiB. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*", str(size))
    if found is None or found[2].upper() not in UNITS:
        raise ConfigError(f"the size {str(size)[:40]!r} is none; give bytes, or a number with MB, GB, MiB or GiB")
    number = int(float(found[1]) * UNITS[found[2].upper()])
    if not SMALLEST <= number <= LARGEST:
        raise ConfigError(f"shards of {str(size)[:40]} are not made; give a size between 100KB and 100GB")
    return number


def _folder(out: str | Path) -> Path:
    if "://" in str(out):
        raise OutputError(f"{out} is an address; make the shards in a folder, and copy that there")
    folder = typed_path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{out} is a file; give a new folder")
    return folder


def _result(folder: Path, index: "Index", before: int, left_out: tuple[LeftOut, ...]) -> Shards:
    from moganet.data.shards_index import INDEX

    shards = index.shards()
    images = {name: sum(map(len, some)) for name, some in index.splits.items()}
    return Shards(
        out=str(folder),
        index=str(folder / INDEX),
        kind=index.kind,
        classes=len(index.class_names),
        images=images,
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        before=before,
        unreadable=left_out,
    )
