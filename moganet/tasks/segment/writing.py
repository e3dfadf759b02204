"""What `predict --out` leaves of each image: an index PNG under its stem, an overlay, areas, and COCO's runs."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from moganet.data.outlines import compressed, runs_of_mask
from moganet.report.masks import in_colours
from moganet.tasks.answer_folder import CLASSES, Tables, claim, make_folder, names_for, save_picture
from moganet.tasks.segment.answers import COLUMNS, Segmentation, SegmentRow
from moganet.tasks.segment.description import SegmentDescription

AREAS, RUNS, OVERLAYS = "areas.csv", "coco.json", "overlays"
MARK = "moganet masks"  # by which a folder of ours is known again


class MaskWriter:
    """Write the answers for images, in any order, into a folder that is new, empty, or one of ours.

    Stems that stand twice get their folders' names before them, or their endings behind them; nothing is replaced.
    """

    def __init__(self, out: Path, files: Sequence[str], description: SegmentDescription) -> None:
        self.out, self.names = out, names_for(files)
        self.class_names = description.class_names
        self.palette = description.colours
        named = [{"index": i, "name": n, "color": list(self.palette[i])} for i, n in enumerate(self.class_names)]
        claim(out, self.names, MARK, named)
        make_folder(out / OVERLAYS)
        self.tables = Tables()

    def write(self, place: int, row: Any, image: Any, answer: Segmentation) -> SegmentRow:
        """Write an image's files. image: uint8 (C, H, W)."""
        name = self.names[place]
        mask, overlay = self.out / name, self.out / OVERLAYS / PurePath(name).with_suffix(".jpg")
        colours = in_colours(np.asarray(image))
        save_picture(index_image(answer.labels, self.palette), mask)
        overlay = save_picture(Image.fromarray(answer.overlay(colours)), overlay, quality=90)
        kept: SegmentRow = row.changed(mask=str(mask), overlay=str(overlay))
        self._note(name, kept, answer)
        return kept

    def _note(self, name: str, row: SegmentRow, answer: Segmentation) -> None:
        size = answer.labels.shape
        number = self.tables.add(row, size, mask=name)
        for i in answer.order:
            mask = answer.labels == i
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            self.tables.annotate(
                number,
                category_id=i + 1,
                segmentation={"size": size, "counts": compressed(runs_of_mask(mask))},
                area=int(answer.pixels[i]),
                bbox=[int(side) for side in box],
            )

    def close(self) -> list[str]:
        """Write the tables of all images: areas.csv, and coco.json, whose categories are numbered from 1 on."""
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(self.class_names)]
        self.tables.write(self.out / AREAS, COLUMNS, self.out / RUNS, categories)
        return [CLASSES, AREAS, RUNS, OVERLAYS]


def index_image(labels: Any, palette: Sequence[Sequence[int]]) -> Image.Image:
    """Give labels (H, W) as an image of indices, in their colours; of more than 256 classes with 16 bits."""
    if labels.dtype != np.uint8:
        return Image.fromarray(labels.astype(np.uint16))
    image = Image.fromarray(labels, "L")
    image.putpalette([part for colour in palette[:256] for part in colour])
    return image
