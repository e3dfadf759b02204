"""What `predict --out` leaves of each image: an index PNG under its stem, an overlay, areas, and COCO's runs."""

import csv
import itertools
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from moganet.errors import ConfigError, OutputError
from moganet.files import atomic_path, to_json, write_text
from moganet.notices import say
from moganet.report.masks import in_colours
from moganet.tasks.segment.answers import COLUMNS, Segmentation, SegmentRow, compressed, runs
from moganet.tasks.segment.description import SegmentDescription

AREAS, CLASSES, RUNS, OVERLAYS = "areas.csv", "classes.json", "coco.json", "overlays"
MARK = "moganet masks"  # by which a folder of ours is known again
JPEG_SIDE = 65_500  # pixels, more than which JPEG has no room for


class MaskWriter:
    """Write the answers for images, in any order, into a folder that is new, empty, or one of ours.

    Stems that stand twice get their folders' names before them, or their endings behind them; nothing is replaced.
    """

    def __init__(self, out: Path, files: Sequence[str], description: SegmentDescription) -> None:
        self.out, self.names = out, names_for(files)
        self.class_names = description.class_names
        self.palette = description.colours
        self._claim()
        self._make(out / OVERLAYS)
        self.rows: list[SegmentRow] = []
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def _claim(self) -> None:
        """Raise ConfigError where a file to be written is there already, and is not of an earlier prediction."""
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"--out {self.out} is a file; give a folder")
        marked = (self.out / CLASSES).is_file() and MARK in (self.out / CLASSES).read_text(errors="replace")[:200]
        there = [name for name in self.names if (self.out / name).exists()]
        if there and not marked:
            what = f"{self.out} holds {there[0]}{' and more' if len(there) > 1 else ''}, which no prediction wrote"
            raise ConfigError(f"{what}; nothing is replaced; choose another --out")
        if there:
            say(f"{len(there)} masks of an earlier prediction in {self.out} are replaced")
        self._make(self.out)
        named = [{"index": i, "name": n, "color": list(self.palette[i])} for i, n in enumerate(self.class_names)]
        write_text(self.out / CLASSES, to_json({"written_by": MARK, "classes": named}, indent=1))

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None

    def write(self, place: int, row: Any, image: Any, answer: Segmentation) -> SegmentRow:
        """Write an image's files. image: uint8 (C, H, W)."""
        name = self.names[place]
        mask, overlay = self.out / name, self.out / OVERLAYS / PurePath(name).with_suffix(".jpg")
        for folder in {mask.parent, overlay.parent}:
            self._make(folder)
        colours = in_colours(np.asarray(image))
        _save(index_image(answer.labels, self.palette), mask)
        if max(answer.labels.shape) > JPEG_SIDE:
            overlay = overlay.with_suffix(".png")
        _save(Image.fromarray(answer.overlay(colours)), overlay, quality=90)
        self._note(name, row.file, answer)
        kept: SegmentRow = row.changed(mask=str(mask), overlay=str(overlay))
        self.rows.append(kept)
        return kept

    def _note(self, name: str, file: str, answer: Segmentation) -> None:
        height, width = answer.labels.shape
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": file, "mask": name, "height": height, "width": width})
        for i in answer.order:
            mask = answer.labels == i
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": i + 1,
                    "segmentation": {"size": [height, width], "counts": compressed(runs(mask))},
                    "area": int(answer.pixels[i]),
                    "bbox": [int(side) for side in box],
                    "iscrowd": 0,
                }
            )

    def close(self) -> list[str]:
        """Write the tables of all images: areas.csv, and coco.json, whose categories are numbered from 1 on."""
        with (
            atomic_path(self.out / AREAS) as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in self.rows:
                writer.writerows(row.cells())
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self.class_names)]
        plain = {"images": self.images, "annotations": self.annotations, "categories": categories}
        write_text(self.out / RUNS, json.dumps(plain))
        return [CLASSES, AREAS, RUNS, OVERLAYS]


def index_image(labels: Any, palette: Sequence[Sequence[int]]) -> Image.Image:
    """Give labels (H, W) as an image of indices, in their colours; of more than 256 classes with 16 bits."""
    if labels.dtype != np.uint8:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels, "L")
    image.putpalette([part for colour in palette[:256] for part in colour])
    return image


def _save(image: Image.Image, path: Path, **how: Any) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary, format="JPEG" if path.suffix == ".jpg" else "PNG", **how)


def names_for(files: Sequence[str]) -> list[str]:
    """Give each file a name of its own for its mask: its stem; where another has that, its folders before it too."""
    # No ".." leads out of the folder of masks; links stay as they are.
    paths = [PurePath(os.path.abspath(file)) for file in files]  # noqa: PTH100
    stems = Counter(path.stem for path in paths)
    twice = [path for path in paths if stems[path.stem] > 1]
    common = PurePath(os.path.commonpath([path.parent for path in twice])) if _share_a_root(twice) else None
    names = []
    for path in paths:
        folder = path.parent.relative_to(common) if stems[path.stem] > 1 and common is not None else PurePath()
        names.append(str(folder / f"{path.stem}.png"))
    counts = Counter(names)
    names = [
        str(PurePath(n).with_name(f"{p.name}.png")) if counts[n] > 1 else n for n, p in zip(names, paths, strict=True)
    ]
    counts, used = Counter(names), set(names)
    for place, name in enumerate(names):  # as in tables that hold images of one name
        if counts[name] > 1:
            own = (str(PurePath(name).with_stem(f"{PurePath(name).stem}-{i}")) for i in itertools.count(1))
            names[place] = next(one for one in own if one not in used)
            used.add(names[place])
    if twice:
        say(f"{len(twice)} images share their stems with others: their masks are named by folder or ending too")
    return names


def _share_a_root(paths: Sequence[PurePath]) -> bool:
    return len({path.anchor for path in paths}) == 1  # drives have none in common
