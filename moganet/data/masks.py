"""Images with a mask each, of classes of pixels: index or colour PNGs beside them, or in folders of their own.

The layouts of CamVid, Cityscapes, ADE20K, PASCAL VOC and COCO are recognised, and what was taken for what is said. Each
mask is looked at once as the set is opened: what can't be used is named, and left out only where that is asked for:
`masks:DIR?names=FILE&ignore=255,11&missing=skip`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from moganet.data.class_names import shown
from moganet.data.findings import FaultError, Finding, UnusableDataError
from moganet.data.masks_classes import Decided, decide
from moganet.data.masks_coco import coco_pairs
from moganet.data.masks_coding import IGNORED, UNKNOWN, Coding, Scanned
from moganet.data.masks_find import Found, by_lists, find_pairs, is_named_images, is_named_masks
from moganet.data.masks_names import LISTS
from moganet.data.masks_query import FAULTS, Asked, read_query
from moganet.data.masks_read import MaskFile, read_raw, size_of_image
from moganet.data.masks_targets import MaskTargets, Size
from moganet.data.paths import exists, is_folder, path_and_query
from moganet.data.scan import describe, scan
from moganet.data.source import Dataset, FileSplit, Split
from moganet.data.split_names import SPLITS
from moganet.errors import DataError
from moganet.files import typed_path

MANY_FAULTS = 50  # of a kind that are named one by one


@dataclass(frozen=True)
class _Looked:
    """A pair that was looked at: its split, image and mask, what the mask holds, and the image's size."""

    split: str
    image: Path
    mask: MaskFile
    scanned: Scanned | None
    size: Size | None
    fault: FaultError | None = None


@dataclass
class _Said:
    """What stood out: notes for a person, and faults that were not asked to be skipped."""

    notes: list[str] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)


def open_masks(path: str | None) -> Dataset:
    """Open images and masks. Raises UnusableDataError, with all faults and what can be looked at, for faulty ones."""
    if not path:
        raise DataError("the source 'masks' needs a path: --data masks:DIR")
    root, query = path_and_query(path)
    asked = read_query(query)
    if not is_folder(root):
        what = f"{root} is no folder" if exists(root) else f"there is no folder {root}"
        raise DataError(f"{what}; give one with images and their masks, say images/ and masks/")
    tree = scan(root)
    said = _Said()
    coco = coco_pairs(root, tree, asked.json)
    if coco is None:
        found = find_pairs(root, tree, _folders(root, asked))
        by_lists(root, found)
        looked = _look(_of_found(found, said, asked, root))
        decided = decide(root, asked, [one.scanned for one in looked if one.scanned is not None], found)
    else:
        looked = _look(coco.pairs)
        decided = Decided(coco.coding, coco.names, (), tuple(coco.notes))
        _missing(coco.without, said, asked, root)
    said.notes += decided.notes
    used = {root / name for name in LISTS} | {typed_path(asked.names)}
    passed = (one for part in tree.walk() for one in part.passed if one.path not in used)
    said.notes += [finding.detail for finding in describe(root, passed)]
    good = _without_faults(looked, decided.coding, asked, said)
    return _dataset(f"masks:{root.absolute()}" + (f"?{query}" if query else ""), good, decided, said)


def looks_like_masks(root: Path) -> bool:
    """Tell whether a folder, by its names, holds images with masks, and no folder of images for each class."""
    names = [path.name for path in root.iterdir() if path.is_dir()]
    if len(names) == 1 and not is_named_masks(names[0]) and not is_named_images(names[0]):  # VOCdevkit/VOC2012
        return looks_like_masks(root / names[0])
    below = [path.name for folder in names for path in (root / folder).iterdir() if path.is_dir()][:100]
    if (root / "annotations").is_dir() and any((root / "annotations").glob("*.json")):
        return True
    if not any(map(is_named_masks, (*names, *below))):
        return False
    tree = scan(root)
    if any(
        map(is_named_images, names)
    ):  # what goes with them is never a class beside them, even where it can't be used
        with_images = {path.relative_to(root).parts[0] for path in tree.all_images}
        if any(is_named_masks(name) for name in names if name in with_images):
            return True
    found = find_pairs(root, tree, {})
    return sum(map(len, found.pairs.values())) > len(found.without_mask)


def _folders(root: Path, asked: Asked) -> Mapping[str, PurePath]:
    """Give the folders of images and masks where they were named. Raises DataError for one that is not there."""
    told = {role: PurePath(name) for role, name in (("images", asked.images), ("masks", asked.masks)) if name}
    for role, folder in told.items():
        if folder.is_absolute() or ".." in folder.parts or not is_folder(root / folder):
            raise DataError(f"{role}={folder}: {root} has no such folder")
    if len(told) == 1:
        raise DataError("say both folders: masks:DIR?images=NAME&masks=NAME")
    return told


def _of_found(found: Found, said: _Said, asked: Asked, root: Path) -> list[tuple[str, Path, MaskFile]]:
    if not found.pairs and not found.without_mask:
        raise DataError(f"{root} has no images with masks; put them into images/ and masks/ under the same names")
    _missing(found.without_mask, said, asked, root)
    if not found.pairs:
        one = found.without_mask[0]
        what = f"none of the {len(found.without_mask)} images of {root} has a mask ({one.name} for one)"
        raise DataError(f"{what}; masks lie in masks/ under the same names, or say masks:DIR?images=NAME&masks=NAME")
    if found.without_image:
        names = shown(path.name for path in found.without_image)
        said.notes.append(f"passed over: {len(found.without_image)} masks of {root} without an image ({names})")
    if found.others:
        names = shown(path.name for path in found.others)
        said.notes.append(f"passed over: {len(found.others)} files of {root} that are neither image nor mask ({names})")
    if found.unlisted:
        listed = shown(found.unlisted)
        said.notes.append(
            f"passed over: {len(found.unlisted)} names in lists of {root} without image and mask ({listed})"
        )
    if None in found.pairs and len(found.pairs) > 1:
        loose = found.pairs.pop(None)
        said.notes.append(f"passed over: {len(loose)} images of {root} that are in no split ({loose[0].image.name})")
    return [(split or "train", pair.image, pair.mask) for split, pairs in found.pairs.items() for pair in pairs]


def _missing(images: Sequence[Path], said: _Said, asked: Asked, root: Path) -> None:
    """Note the images without a mask, as faults or as skipped."""
    if not images:
        return
    if asked.skips("missing"):
        said.notes.append(f"passed over: {len(images)} images of {root} without a mask")
        return
    names, how = shown(path.name for path in images), FAULTS["missing"]
    text = f"{len(images)} images of {root} have no mask ({names}); add them, or {how}"
    said.faults.append(Finding("structure", str(images[0]), text))


def _look(pairs: Sequence[tuple[str, Path, MaskFile]]) -> list[_Looked]:
    """Read each mask once, and each image's size."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda pair: _look_at(*pair), pairs))


def _look_at(split: str, image: Path, mask: MaskFile) -> _Looked:
    size = size_of_image(image)
    try:
        return _Looked(split, image, mask, Scanned.of(read_raw(mask), str(mask)), size)
    except FaultError as error:
        return _Looked(split, image, mask, None, size, error)


def _without_faults(looked: Sequence[_Looked], coding: Coding, asked: Asked, said: _Said) -> list[_Looked]:
    """Give what can be used; what can't is skipped where that was asked for, else a fault."""
    good = []
    by_kind: dict[str, list[tuple[_Looked, str]]] = {}
    for one in looked:
        fault = one.fault or _fault(one, coding, asked)
        if fault is None:
            good.append(one)
        else:
            by_kind.setdefault(fault.kind, []).append((one, str(fault)))
    for kind, found in by_kind.items():
        if asked.skips(kind):
            said.notes.append(f"passed over: {len(found)} masks, the first since {found[0][1]}")
            continue
        for one, text in found[:MANY_FAULTS]:
            said.faults.append(Finding("structure", str(one.mask), f"{text}; {FAULTS[kind]}"))
        if len(found) > MANY_FAULTS:
            more = f"and {len(found) - MANY_FAULTS} more masks like {found[0][0].mask}"
            said.faults.append(Finding("structure", str(found[0][0].mask), more))
    return good


def _fault(one: _Looked, coding: Coding, asked: Asked) -> FaultError | None:
    """Tell what is wrong with a mask that could be read."""
    assert one.scanned is not None
    found = one.scanned
    turned = one.size is not None and found.size == (one.size[1], one.size[0])  # a resizing would tear it apart
    if one.size is not None and found.size != one.size and (turned or asked.size != "resize"):
        (width, height), (own_width, own_height) = one.size, found.size
        what = f"{one.mask} is {own_width}x{own_height}, but its image {width}x{height}"
        kind = "turned" if turned and asked.size != "skip" else "size"
        return FaultError(kind, what + " upright" * (kind == "turned"))
    if found.coloured != coding.coloured and found.palette is None:
        kinds = ("colours", "numbers") if found.coloured else ("numbers", "colours")
        return FaultError("colours", f"{one.mask} holds {kinds[0]} where other masks hold {kinds[1]}")
    values = np.array(list(_counted(found, coding)), np.int64)
    unknown = values[coding.classes_of(values) == UNKNOWN]
    if len(unknown):
        return FaultError("unknown", f"{one.mask} has {coding.say(unknown.tolist())}, which is no class")
    return None


def _counted(found: Scanned, coding: Coding) -> Mapping[int, int]:
    return found.in_colours().counts if coding.coloured else found.counts


def _pixels(found: Scanned, coding: Coding, num_classes: int) -> list[int]:
    """Count the pixels of each class in a mask."""
    counted = _counted(found, coding)
    classes = coding.classes_of(np.array(list(counted), np.int64))
    numbers = np.zeros(num_classes, np.int64)
    known = classes != IGNORED
    np.add.at(numbers, classes[known], np.array(list(counted.values()), np.int64)[known])
    return numbers.tolist()


def _dataset(spec: str, good: Sequence[_Looked], decided: Decided, said: _Said) -> Dataset:
    splits: dict[str, Split] = {}
    for name in SPLITS:
        some = [one for one in good if one.split == name]
        if some:
            splits[name] = _split(some, decided)
    findings = [*said.faults]
    findings += [Finding("passed-over", spec, note) for note in said.notes if note.startswith("passed over")]
    dataset = Dataset(spec, decided.names, splits, tuple(said.notes), tuple(findings))
    if said.faults:
        raise UnusableDataError(said.faults, dataset)
    if not good:
        raise DataError(f"{spec}: no mask is left that can be used; {said.notes[0] if said.notes else 'give others'}")
    return dataset


def _split(some: Sequence[_Looked], decided: Decided) -> FileSplit:
    scanned = [one.scanned for one in some if one.scanned is not None]
    pixels = [_pixels(found, decided.coding, len(decided.names)) for found in scanned]
    targets = MaskTargets(
        tuple(one.mask for one in some),
        decided.coding,
        np.array(pixels, np.int64).reshape(len(some), len(decided.names)),
        tuple(one.size if found.size != one.size else None for one, found in zip(some, scanned, strict=True)),
        decided.colours,
    )
    return FileSplit([one.image for one in some], targets)
