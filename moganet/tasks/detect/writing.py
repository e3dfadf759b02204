"""What `predict --out` leaves of each image: it with what was found, YOLO's text, crops; and tables of all images."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from moganet.files import write_text
from moganet.report.boxes import colours_of
from moganet.report.masks import in_colours
from moganet.safe_names import FreeNames
from moganet.tasks.answer_folder import CLASSES, Tables, claim, make_folder, names_for, save_picture
from moganet.tasks.detect.answers import COLUMNS, Detections, DetectRow
from moganet.tasks.detect.description import DetectDescription
from moganet.tasks.detect.scenes import as_sides, runs_text

PICTURES, LABELS, CROPS = "pictures", "labels", "crops"
OBJECTS, COCO, NAMES = "objects.csv", "coco.json", "classes.txt"
MARK = "moganet objects"  # by which a folder of ours is known again
QUALITY = 92


class ObjectWriter:
    """Write the answers for images, in any order, into a folder that is new, empty, or one of ours.

    pictures/STEM.jpg: the image with boxes and masks. labels/STEM.txt: a line "class x y width height" a thing, as
    YOLO's: centre and sides as shares of the image's. crops/CLASS/STEM-N.jpg: each thing by itself.
    """

    def __init__(self, out: Path, files: Sequence[str], description: DetectDescription) -> None:
        self.out, self.names, self.description = out, names_for(files, "pictures", ".jpg"), description
        names = description.class_names
        colours = colours_of(len(names))
        named = [{"index": i, "name": name, "color": list(colours[i])} for i, name in enumerate(names)]
        claim(out, [f"{PICTURES}/{name}" for name in self.names], MARK, named)
        for folder in (PICTURES, LABELS, CROPS):
            make_folder(out / folder)
        free = FreeNames()
        self.folders = [free.free(name) for name in names]  # of crops
        self.tables = Tables()

    def write(self, place: int, row: Any, image: Any, answer: Detections) -> DetectRow:
        """Write an image's files. image: uint8 (C, H, W)."""
        name, pixels = self.names[place], np.asarray(image)
        picture = save_picture(Image.fromarray(answer.drawn(pixels)), self.out / PICTURES / name, quality=QUALITY)
        label = self.out / LABELS / PurePath(name).with_suffix(".txt")
        make_folder(label.parent)
        write_text(label, "".join(f"{line}\n" for line in yolo_lines(answer)))
        self._crop(name, in_colours(pixels), answer)
        kept: DetectRow = row.changed(picture=str(picture))
        self._note(name, kept, answer)
        return kept

    def _crop(self, name: str, colours: Any, answer: Detections) -> None:
        height, width = answer.size
        for number, i in enumerate(answer.shown, 1):
            left, top, right, bottom = answer.boxes[i].tolist()
            rows, columns = (
                slice(int(top), min(height, int(np.ceil(bottom)))),
                slice(int(left), min(width, int(np.ceil(right)))),
            )
            crop = colours[rows, columns]
            if crop.size:
                place = PurePath(name)
                folder = self.out / CROPS / self.folders[answer.labels[i]] / place.parent
                save_picture(Image.fromarray(crop), folder / f"{place.stem}-{number}.jpg", quality=QUALITY)

    def _note(self, name: str, row: DetectRow, answer: Detections) -> None:
        number = self.tables.add(row, answer.size, picture=name)
        for i in answer.shown:
            box, mask = as_sides(answer.boxes[i].astype(float).tolist()), answer.mask(i)
            known = {} if mask is None else {"segmentation": {"size": answer.size, "counts": runs_text(mask)}}
            self.tables.annotate(
                number,
                category_id=self.description.numbers[answer.labels[i]],
                bbox=box,
                area=box[2] * box[3] if mask is None else int(mask.sum()),
                score=float(answer.scores[i]),
                **known,
            )

    def close(self) -> list[str]:
        """Write the tables of all images: objects.csv, coco.json in COCO's form, and YOLO's names."""
        names = self.description.class_names
        categories = [{"id": i, "name": n} for i, n in zip(self.description.numbers, names, strict=True)]
        self.tables.write(self.out / OBJECTS, COLUMNS, self.out / COCO, categories)
        write_text(self.out / NAMES, "".join(f"{' '.join(name.split())}\n" for name in names))
        return [CLASSES, PICTURES, LABELS, CROPS, OBJECTS, COCO, NAMES]


def yolo_lines(answer: Detections) -> list[str]:
    """Give what is shown as lines of YOLO's text."""
    height, width = answer.size
    lines = []
    for i in answer.shown:
        left, top, right, bottom = answer.boxes[i].astype(float).tolist()
        shares = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        lines.append(f"{answer.labels[i]} " + " ".join(f"{share:.6f}" for share in shares))
    return lines
