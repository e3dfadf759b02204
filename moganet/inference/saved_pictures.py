"""Copies of pictures with their answers written on them, and a list of which is whose."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np

from moganet import report
from moganet.files import atomic_path, to_json
from moganet.inference.sorted_images import new_folder, own_name
from moganet.safe_names import FreeNames
from moganet.tasks.records import Row

PLAIN = (".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")  # endings of pictures that are kept without loss
LIST = "predictions.jsonl"  # by which a folder is known to hold pictures of images, and no images
QUALITY = 92


@dataclass
class SavedPictures:
    """A new folder, into which pictures go as their answers come. number: of those that were written."""

    folder: Path
    file: IO[str]
    number: int = 0
    free: FreeNames = field(default_factory=lambda: FreeNames((LIST,)))

    def add(self, row: Row, source: Any, pixels: np.ndarray, *, right: bool | None) -> None:
        """Write a picture uint8 (C, H, W) with its answer. source: its file, or pixels."""
        own = PurePath(own_name(row.file, source))
        plain = own.suffix.lower() in PLAIN and row.time is None
        name = self.free.free(f"{own.stem or own.name}{'.png' if plain else '.jpg'}")
        picture = report.label_picture(pixels, report.Label(row.short(), right, row.truth_text(), bool(row.rejected)))
        with atomic_path(self.folder / name) as temporary:
            picture.save(temporary, quality=QUALITY)
        self.file.write(to_json({**row.plain(), "picture": name}) + "\n")
        self.number += 1


@contextmanager
def saved_pictures(folder: Path) -> Iterator[SavedPictures]:
    """Give a folder for pictures; its list appears when all are written, and without a picture there is no folder.

    Raises OutputError for one that is not new.
    """
    was_there = new_folder(folder, "--save-images").is_dir()
    try:
        with atomic_path(folder / LIST) as temporary, open(temporary, "w", encoding="utf-8") as f:
            saved = SavedPictures(folder, f)
            yield saved
        if not saved.number:
            (folder / LIST).unlink()
    finally:
        if not was_there:
            with suppress(OSError):  # where pictures lie in it
                folder.rmdir()
