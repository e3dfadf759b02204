"""Images copied or linked into a folder of each class that is found in them; those that are there are never touched."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from moganet.data.contents import EmbeddedImage, ImageFile
from moganet.data.formats import readable_suffixes
from moganet.data.within import Within
from moganet.errors import OutputError
from moganet.files import atomic_path, is_writable
from moganet.notices import say
from moganet.safe_names import FreeNames

REJECTED, NONE = "_rejected", "_none"  # folders of images unlike those trained on, and of those without any class


class SortedImages:
    """A new folder with one folder a class, into which images go as their answers come.

    folder: that is not there, or empty: nothing is mixed. links: symbolic links in place of copies, where there is a
    file. number: of the files that were made. Raises OutputError where it can't be written.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], *, links: bool) -> None:
        self.folder, self.links, self.number = new_folder(folder, "--sort-into"), links, 0
        free = FreeNames((REJECTED, NONE))
        self.folders = {name: free.free(name) for name in class_names}
        self.free = dict[str, FreeNames]()
        if changed := [f"{name!r} as {safe!r}" for name, safe in self.folders.items() if name != safe]:
            more = f" and {len(changed) - 3:,} more" if len(changed) > 3 else ""
            say(f"classes whose names are no folders' stand otherwise: {', '.join(changed[:3])}{more}")

    def add(self, name: str, classes: Sequence[str], rejected: bool | None, source: "ImageFile | Any") -> None:
        """Put an image into the folders of its classes. source: its file, or a frame's pixels uint8 (C, H, W)."""
        folders = [REJECTED] if rejected else [self.folders[one] for one in classes] or [NONE]
        for folder in folders:
            own = self.free.setdefault(folder, FreeNames()).free(own_name(name, source))
            place = self.folder / folder / own
            self._put(source, place)
            self.number += 1

    def _put(self, source: Any, place: Path) -> None:
        if isinstance(source, Path) and self.links:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(source.absolute())
            except OSError as error:
                raise OutputError(
                    f"can't link {place}: {error.strerror}; copy instead, or choose another place"
                ) from None
            return
        if self.links:
            say("images within other files, or in memory, are copied: there is no file that a link could lead to")
        with atomic_path(place) as temporary:
            _write(source, temporary)


def new_folder(folder: Path, option: str) -> Path:
    """Give a folder that is made when it is written to. Raises OutputError for one that holds something already."""
    try:
        taken = os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise OutputError(f"can't look into {folder}: {error.strerror}; choose another place by {option}") from None
    if taken:
        raise OutputError(
            f"{folder} is there already and not empty; give {option} a new folder, so that nothing is mixed"
        )
    if not is_writable(folder):
        raise OutputError(f"can't write {folder}: its place can't be written; choose another place by {option}")
    return folder


def own_name(name: str, source: Any) -> str:
    """Give the last part of an image's name; of what is no file, "clip.mp4/1.000s", a picture's: "clip-1.000s.png"."""
    *before, own = name.replace("\\", "/").rstrip("/").split("/")
    if isinstance(source, Path | EmbeddedImage) or (isinstance(source, Within) and source.time is None):
        return own
    if Path(own).suffix.lower() in readable_suffixes():
        return f"{Path(own).stem}.png"
    return f"{Path(before[-1]).stem}-{own}.png" if before else f"{own}.png"


def _write(source: Any, place: Path) -> None:
    if isinstance(source, Path):
        shutil.copyfile(source, place)
    elif isinstance(source, EmbeddedImage):
        place.write_bytes(source)
    elif isinstance(source, Within):
        content = source.load()
        assert isinstance(content, bytes)
        place.write_bytes(content)
    else:
        picture = source.transpose(1, 2, 0)
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(place, "PNG")
