"""Files of COCO's form (JSON): which of a folder's are meant, what stands in them, where images lie; no torch.

COCO's own layout, Roboflow's (`train/_annotations.coco.json`), a folder with one JSON file beside its images, and a
file by its path. What one entry says is read by whoever knows what it is about: boxes, key points, masks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moganet.data.class_names import shown
from moganet.data.paths import is_file, is_folder
from moganet.data.split_names import SPLITS, SplitName, split_of
from moganet.errors import DataError
from moganet.files import read_small

LIMIT = 1 << 30  # bytes of a JSON file; COCO's largest has half of it
HEAD = 1 << 16  # bytes, in which one of the lists begins
LISTS = ("images", "annotations", "categories")
KINDS = ("instances", "person_keypoints", "captions", "panoptic", "stuff", "image_info")  # COCO's own files
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """A file, the split that it is, and its lists. folders: where its images may lie, the likeliest first."""

    path: Path
    split: SplitName
    images: Sequence[Any]
    annotations: Sequence[Any]
    categories: Sequence[Any]
    folders: tuple[Path, ...]
    _found: dict[str, Path | None] = field(default_factory=dict, repr=False, compare=False)

    def image(self, name: str) -> Path | None:
        """Find an image by the name that it has in the file; None where none of the folders has it."""
        if name not in self._found:
            places = (folder / part for part in dict.fromkeys((name, _bare(name))) for folder in self.folders)
            self._found[name] = next((place for place in places if is_file(place)), None)
        return self._found[name]


def is_entry(plain: Any, text: str) -> bool:
    """Tell whether an image or a category is a record with a whole number, and with a text by a key."""
    return isinstance(plain, dict) and type(plain.get("id")) is int and isinstance(plain.get(text), str)


def _bare(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def looks_like_coco(path: Path) -> bool:
    """Tell whether a JSON file has one of COCO's lists near its beginning."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" and any(f'"{name}"'.encode() in head for name in LISTS)


def looks_like_coco_folder(root: Path, kind: str = "instances") -> bool:
    """Tell whether a folder has files of a kind, where COCO's layout or Roboflow's has them."""
    return bool(_files_of(root, kind))


def coco_files(
    given: Path, *, kind: str = "instances", named: str = "", images: str = "", split: SplitName | None = None
) -> list[CocoFile]:
    """Open the files of a kind that a path holds: a folder, or a file itself.

    named: files of a folder that are meant, joined by commas. images: the folder of their images. split: of a
    file whose name says none. Raises DataError where there is none, where two are of one split, or for another form.
    """
    if not is_folder(given):
        if not is_file(given):
            raise DataError(
                f"there is no file or folder {given}; give a folder with COCO's annotations/, or a JSON file"
            )
        paths = [given]
    else:
        paths = [given / part for part in named.split(",")] if named else _files_of(given, kind)
    if not paths:
        raise DataError(
            f"{given} has no JSON file of COCO's form; put annotations/{kind}_train2017.json beside train2017/, or "
            "give a JSON file by its path"
        )
    root = given if is_folder(given) else _root_of(given)
    opened = [_opened(path, root, images, split) for path in paths]
    for name in SPLITS:
        same = [str(file.path) for file in opened if file.split == name]
        if len(same) > 1:
            what = f"{shown(same)} are both {name} by their names"
            raise DataError(f"{what}; say which are meant, as coco:{given}?json={paths[0].relative_to(root)},…")
    return opened


def _files_of(root: Path, kind: str) -> list[Path]:
    """List the files that are meant: those of a kind by COCO's names, else all of its form."""
    folders = [root, root / "annotations", *_below(root), *_below(root / "annotations")]
    paths = [path for folder in dict.fromkeys(folders) for path in sorted(folder.glob("*.json")) if is_file(path)]
    of_kind = [path for path in paths if path.name.startswith(f"{kind}_") or path.stem == kind]
    if of_kind:
        return of_kind
    others = tuple(f"{other}_" for other in KINDS if other != kind)
    return [path for path in paths if not path.name.startswith(others) and looks_like_coco(path)]


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _root_of(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _opened(path: Path, root: Path, images: str, split: SplitName | None) -> CocoFile:
    plain = read_coco(path)
    own = split_of(path.stem) or (split_of(path.parent.name) if path.parent != root else None) or split
    folders = _folders(path, root, images)
    return CocoFile(path, own or "train", plain["images"], plain["annotations"], plain["categories"], folders)


def read_coco(path: Path) -> Mapping[str, list[Any]]:
    """Read a file's lists. Raises DataError where it is no JSON, or lacks one of them."""
    try:
        plain = json.loads(read_small(path, LIMIT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no JSON: {error}") from None
    lacking = [name for name in LISTS if not isinstance(plain, dict) or not isinstance(plain.get(name), list)]
    if isinstance(plain, list) and plain and isinstance(plain[0], dict) and "score" in plain[0]:
        raise DataError(f"{path} is COCO's list of results, and no annotations; give the file that they answer to")
    if lacking:
        which = f"it lacks {', '.join(lacking)}"
        raise DataError(f"{path} is no file of COCO's form: it needs the lists {', '.join(LISTS)}; {which}")
    return {name: plain[name] for name in LISTS}


def _folders(path: Path, root: Path, images: str) -> tuple[Path, ...]:
    """List where a file's images may lie; where a folder was named, there alone."""
    if images:
        folder = Path(images) if is_folder(images) and not is_folder(root / images) else root / images
        if not is_folder(folder):
            raise DataError(f"images={images}: there is no such folder, neither here nor in {root}")
        return folder, *(below for below in _below(folder) if split_of(below.name) == split_of(path.stem) is not None)
    end = path.stem.rpartition("_")[2]
    own = split_of(path.stem)
    by_split = [below for top in (root, root / "images") for below in _below(top) if split_of(below.name) == own]
    named = [top / end for top in (root, root / "images", path.parent)]
    likely = [*named, *(by_split if own else ()), path.parent, path.parent / "images", root / "images", root]
    return tuple(folder for folder in dict.fromkeys(likely) if is_folder(folder))
