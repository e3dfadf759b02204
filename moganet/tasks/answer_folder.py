"""A folder of answers that `predict --out` leaves: whose it is, a name for each image, files that appear whole."""

import csv
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from moganet.errors import ConfigError, OutputError
from moganet.files import atomic_path, to_json, write_text
from moganet.notices import say
from moganet.tasks.records import Row

CLASSES = "classes.json"
JPEG_SIDE = 65_500  # pixels, more than which JPEG has no room for


def claim(out: Path, names: Sequence[str], mark: str, classes: Sequence[dict[str, Any]]) -> None:
    """Make a folder, or take one that an earlier prediction wrote, and say in it whose it is and what its classes are.

    names: of the files to be written. mark: by which a folder of ours is known again.
    Raises ConfigError where one of them is there already, and is of no earlier prediction.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder")
    marked = (out / CLASSES).is_file() and mark in (out / CLASSES).read_text(errors="replace")[:200]
    there = [name for name in names if (out / name).exists()]
    if there and not marked:
        what = f"{out} holds {there[0]}{' and more' if len(there) > 1 else ''}, which no prediction wrote"
        raise ConfigError(f"{what}; nothing is replaced; choose another --out")
    if there:
        say(f"the answers to {len(there)} images of an earlier prediction in {out} are replaced")
    make_folder(out)
    write_text(out / CLASSES, to_json({"written_by": mark, "classes": list(classes)}, indent=1))


def make_folder(folder: Path) -> None:
    """Make a folder. Raises OutputError where that can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None


def save_picture(image: Image.Image, path: Path, **how: Any) -> Path:
    """Write a picture as its name's ending says, and give its place: a PNG where it is too large for a JPEG."""
    if path.suffix == ".jpg" and max(image.size) > JPEG_SIDE:
        path = path.with_suffix(".png")
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        image.save(temporary, format="JPEG" if path.suffix == ".jpg" else "PNG", **how)
    return path


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Sequence[object]]]) -> None:
    """Write a CSV file of the cells of rows."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        for cells in rows:
            writer.writerows(cells)


class Tables:
    """What such a folder holds of all images together: a table, and a file in COCO's form. Its numbers begin at 1."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, row: Row, size: Sequence[int], **files: str) -> int:
        """Take an image of a size (height, width), and give its number. files: names of what was written of it."""
        number = len(self.images) + 1
        self.rows.append(row)
        self.images.append({"id": number, "file_name": row.file, **files, "height": size[0], "width": size[1]})
        return number

    def annotate(self, image: int, **found: Any) -> None:
        """Take what was found in an image, one thing. image: its number."""
        self.annotations.append({"id": len(self.annotations) + 1, "image_id": image, "iscrowd": 0, **found})

    def write(self, table: Path, columns: Sequence[str], coco: Path, categories: Sequence[dict[str, Any]]) -> None:
        """Write the table of rows, and COCO's file."""
        write_rows(table, columns, (row.cells() for row in self.rows))
        plain = {"images": self.images, "annotations": self.annotations, "categories": categories}
        write_text(coco, json.dumps(plain))


def names_for(files: Sequence[str], what: str = "masks", suffix: str = ".png") -> list[str]:
    """Give each file a name of its own for its answer: its stem; where another has that, its folders before it too."""
    # No ".." leads out of the folder of masks; links stay as they are.
    paths = [PurePath(os.path.abspath(file)) for file in files]  # noqa: PTH100
    stems = Counter(path.stem for path in paths)
    twice = [path for path in paths if stems[path.stem] > 1]
    common = PurePath(os.path.commonpath([path.parent for path in twice])) if _share_a_root(twice) else None
    names = []
    for path in paths:
        folder = path.parent.relative_to(common) if stems[path.stem] > 1 and common is not None else PurePath()
        names.append(str(folder / f"{path.stem}{suffix}"))
    counts = Counter(names)
    names = [
        str(PurePath(n).with_name(f"{p.name}{suffix}")) if counts[n] > 1 else n
        for n, p in zip(names, paths, strict=True)
    ]
    counts, used = Counter(names), set(names)
    for place, name in enumerate(names):  # as in tables that hold images of one name
        if counts[name] > 1:
            own = (str(PurePath(name).with_stem(f"{PurePath(name).stem}-{i}")) for i in itertools.count(1))
            names[place] = next(one for one in own if one not in used)
            used.add(names[place])
    if twice:
        say(f"{len(twice)} images share their stems with others: their {what} are named by folder or ending too")
    return names


def _share_a_root(paths: Sequence[PurePath]) -> bool:
    return len({path.anchor for path in paths}) == 1  # drives have none in common
