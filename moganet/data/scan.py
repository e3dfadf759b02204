"""Look through a folder once: its images, its folders, and everything that is passed over, so that nothing vanishes."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from moganet.data.findings import Finding
from moganet.data.formats import HEIF_SUFFIXES, HOLDER_SUFFIXES, RAW_SUFFIXES, is_heif, readable_suffixes
from moganet.data.paths import exists
from moganet.notices import say

SYSTEM_NAMES = {
    *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "@__thumb", "#recycle", "#snapshot"),
    *("~snapshot", "$recycle.bin", "$extend", "system volume information", "lost+found", "lost.dir", "found.000"),
    *("__macosx", "__pycache__", "network trash folder", "temporary items"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
OLD_BINS = {"RECYCLER", "RECYCLED"}  # in other letters a class of waste
# What the verbs write; these names are theirs (tests compare them).
RUN_FILES = {"metrics.csv", "last.ckpt", "best.safetensors", "last.safetensors", "result.json", "tensorboard"}
RESULT_FILES = {"evaluation.json", "explanations.json", "interactions.json", "predictions.jsonl"}
MAX_LINKS = 3  # links to folders, one within the other: enough for any set, too few for a maze

# What stood out: how it is called, what to do about it, and the kind of finding that it is.
KINDS = {
    "heif": ("HEIC files passed over", "pip install pillow-heif, or convert them", "unreadable"),
    "closed": ("folders or files that may not be read", "change their permissions", "unreadable"),
    "lost": ("images that are empty files or links that lead nowhere", "", "note"),  # the doctor names each by itself
    "content": ("files taken for images by their content", "", "note"),
    "raw": ("camera raw or scanner's files passed over", "convert them, or rename plain TIFF to .tif", "passed-over"),
    "special": ("pipes, sockets or devices passed over", "remove them", "passed-over"),
    "broken": ("links that lead nowhere passed over", "mend or remove them", "passed-over"),
    "loop": ("links to a folder above or deep within linked folders passed over", "remove them", "passed-over"),
    "loose": ("images beside the class folders passed over", "move each into its class's folder", "passed-over"),
    "unused": ("images of folders that are in no split passed over", "", "passed-over"),
    "holder": ("archives or videos passed over", "predict takes them by name; unpack archives to train", "passed-over"),
    "inner": ("archives or videos within an archive passed over", "unpack it first", "passed-over"),
    "other": ("files passed over that are no images", "", "passed-over"),
    "output": ("folders that moganet wrote passed over", "", "note"),
    "system": ("files or folders of the operating system passed over", "", "note"),
    "hidden": ("hidden files or folders passed over", "", "note"),
}
TAKEN = ("lost", "content")  # these stand among the images all the same


class Passed(NamedTuple):
    """Something that stood out: its kind, one of KINDS, and where."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Folder:
    """A folder's own images, its folders, and what stood out in it."""

    path: Path
    images: list[Path] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def walk(self) -> Iterator["Folder"]:
        """Give this folder and all below it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)

    @functools.cached_property
    def all_images(self) -> list[Path]:
        """List the images here and below, in a stable order."""
        return sorted(path for folder in self.walk() for path in folder.images)

    @property
    def filled(self) -> list["Folder"]:
        """List the folders directly below that hold an image at any depth."""
        return [folder for folder in self.folders if folder.all_images]


def scan(root: Path) -> Folder:
    """Look through a folder and all below it. Links are followed, except back to where they come from."""
    top = Folder(root)
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    waiting = [(top, frozenset(above), 0)]
    while waiting:
        folder, above_it, links = waiting.pop()
        try:
            with os.scandir(folder.path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            folder.passed.append(Passed("closed", folder.path))
            continue
        names = {entry.name for entry in found}
        for entry in found:
            kind, path = _kind(entry, names), folder.path / entry.name
            if kind == "folder":
                identity, linked = _identity(path), links + entry.is_symlink()
                if identity not in above_it and linked <= MAX_LINKS:
                    folder.folders.append(Folder(path))
                    waiting.append((folder.folders[-1], above_it | {identity}, linked))
                    continue
                kind = "loop"
            if kind == "image" or kind in TAKEN:
                folder.images.append(path)
            if kind != "image":
                folder.passed.append(Passed(kind, path))
    return top


def list_images(folder: Path) -> list[Path]:
    """List the image files in a folder and below, in a stable order; what is passed over is said."""
    found = scan(folder)
    for finding in describe(folder, (passed for part in found.walk() for passed in part.passed)):
        say(finding.detail)
    return found.all_images


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str], names: set[str]) -> str:
    if (kind := kind_by_name(entry.name)) is not None:
        return kind
    looks = os.path.splitext(entry.name)[1].lower() in readable_suffixes()  # noqa: PTH122 (Path takes ten times as long)
    try:
        if entry.is_dir():
            return "output" if _is_output(entry.path) else "folder"
        if entry.is_file():
            if looks:
                return "image" if entry.stat().st_size else "lost"
            return _kind_of_file(Path(entry.path), names)
    except OSError:
        if not entry.is_symlink():
            return "closed"
    if not entry.is_symlink() or exists(entry.path):
        return "special"
    return "lost" if looks else "broken"  # a lost photograph is named as unreadable by whoever reads it


def kind_by_name(name: str) -> str | None:
    """Give the kind of a file or a folder that is not looked at, where its name alone tells that."""
    if name.startswith("."):
        return "hidden"
    return "system" if name.casefold() in SYSTEM_NAMES or name in OLD_BINS else None


def _is_output(folder: str) -> bool:
    """Tell whether a verb wrote this folder: its pictures are of images, and no images themselves."""
    try:
        names = set(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False
    return ("recipe.yaml" in names and bool(names & RUN_FILES)) or bool(names & RESULT_FILES)


def _kind_of_file(path: Path, names: set[str]) -> str:
    if (kind := kind_by_suffix(path)) is not None:
        return kind
    if path.name.lower().endswith(HOLDER_SUFFIXES):
        return "holder"
    images = readable_suffixes()
    if any(path.name[:i] in names and Path(path.name[:i]).suffix.lower() in images for i in range(2, len(path.name))):
        return "other"  # a.jpg~, a.jpg_original, a.jpg.json beside a.jpg
    return _kind_of_content(path)


def kind_by_suffix(path: PurePath) -> str | None:
    """Give the kind of a file that Pillow does not read as it is, where its name tells that."""
    suffix = path.suffix.lower()
    return "heif" if suffix in HEIF_SUFFIXES else "raw" if suffix in RAW_SUFFIXES else None


def _kind_of_content(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return kind_of_head(file.read(64))
    except OSError:
        return "closed"


def kind_of_head(head: bytes) -> str:
    """Give the kind of a file by its first 64 bytes."""
    if is_heif(head):
        return "content" if ".heic" in readable_suffixes() else "heif"
    if head[4:8] == b"ftyp" and {b"avif", b"avis"} & {head[i : i + 4] for i in range(8, len(head), 4)}:
        return "content"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "raw"
    signed = head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\0\0\0\x0cjP  "))
    size = int.from_bytes(head[14:18], "little")  # of a bitmap's own header, of which there are several kinds
    bitmap = head[:2] == b"BM" and head[6:10] == bytes(4) and size in (0x0C, 0x28, 0x7C)
    return "content" if signed or bitmap or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") else "other"


def describe(root: Path, passed: Iterable[Passed]) -> list[Finding]:
    """Count what stood out, one line a kind, by place."""
    groups: dict[str, list[Path]] = {}
    for one in passed:
        groups.setdefault(one.kind, []).append(one.path)
    findings = []
    for kind, (name, remedy, finding) in KINDS.items():
        if paths := groups.get(kind):
            endings, advice = f", {_by_ending(paths)}" if kind == "other" else "", f"; {remedy}" if remedy else ""
            text = f"{root}: {name}: {len(paths)}{endings} ({places(root, paths)}){advice}"
            findings.append(Finding(finding, str(root), text))
    return findings


def places(root: Path, paths: list[Path]) -> str:
    """Say where some paths lie: the few by name, the many by their number in each folder."""
    relative = [Path(os.path.relpath(path, root)) for path in paths]
    if len(relative) <= 3:
        return ", ".join(str(path) for path in relative)
    counts = Counter(str(path.parent) for path in relative).most_common()
    shown = [f"{number} in {'it' if place == '.' else place}" for place, number in counts[:3]]
    return ", ".join(shown) + (f" and {len(counts) - 3} more folders" if len(counts) > 3 else "")


def _by_ending(paths: list[Path]) -> str:
    counts = Counter(path.suffix.lower() or "no ending" for path in paths).most_common()
    shown = [f"{number} {ending}" for ending, number in counts[:5]]
    return ", ".join(shown) + (f" and {len(counts) - 5} more endings" if len(counts) > 5 else "")
