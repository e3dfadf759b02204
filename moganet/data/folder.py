"""A folder of photographs, a sub-folder a class: `train/` and `val/` (and `test/`), or one folder for all."""

from pathlib import Path

import torch
from PIL import Image

from moganet.data.source import Dataset, FileSplit
from moganet.errors import DataError
from moganet.files import typed_path

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def image_suffixes() -> frozenset[str]:
    """Give the file name endings that Pillow can read, in lower case."""
    Image.init()
    return frozenset(suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN) - {
        ".pdf",
        ".mpg",
        ".mpeg",
    }


def list_images(folder: Path) -> list[Path]:
    """List the image files in a folder and below, by their endings, in a stable order; hidden ones are left out."""
    suffixes = image_suffixes()
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def open_folder(path: str | None) -> Dataset:
    """Open a folder. Where it has no `val/`, the run holds back a stratified part of "train"."""
    if not path:
        raise DataError("the source 'folder' needs a path: --data folder:PATH")
    root = typed_path(path)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give one with a sub-folder of images for each class")
    folders = {split: found for split, names in SPLIT_FOLDERS.items() if (found := _first_folder(root, names))}
    if "train" not in folders:
        folders = {"train": root}
    named = _class_names(folders["train"])
    class_names = tuple(name for name in named if list_images(folders["train"] / name))
    if not class_names:
        raise DataError(f"{folders['train']} has no images; put them into a sub-folder for each class")
    empty = [name for name in named if name not in class_names]
    notes = [f"left out: classes without an image in {folders['train']}: {', '.join(empty)}"] if empty else []
    parts = {split: _open_split(folder, class_names) for split, folder in folders.items()}
    splits = {split: part for split, part in parts.items() if len(part)}
    notes += [f"left out: {folders[split]} has no images" for split in parts if split not in splits]
    return Dataset(f"folder:{root.absolute()}", class_names, splits, tuple(notes))


def _first_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """Give the folder of a split: one of these names with classes in it (a class may be called "train")."""
    candidates = (root / name for name in names if (root / name).is_dir())
    return next((folder for folder in candidates if any(path.is_dir() for path in folder.iterdir())), None)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not names:
        raise DataError(f"{folder} has no sub-folders; make one for each class and put its images there")
    return names


def _open_split(folder: Path, class_names: tuple[str, ...]) -> FileSplit:
    unknown = [name for name in _class_names(folder) if name not in class_names and list_images(folder / name)]
    if unknown:
        raise DataError(f"{folder} has classes that train/ lacks: {', '.join(unknown)}; add or remove them")
    found = [
        (file, label)
        for label, name in enumerate(class_names)
        if (folder / name).is_dir()
        for file in list_images(folder / name)
    ]
    return FileSplit([file for file, _ in found], torch.tensor([label for _, label in found], dtype=torch.long))
