"""Every image of a data set, read whole by the one reader: what is wrong with it, and which are the same picture."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from moganet.data import Dataset, FileSplit, Split
from moganet.data.contents import ImageFile
from moganet.data.deep_grey import Depth, too_dark
from moganet.data.duplicates import TINY_SIDE, Hashes, earlier_copies, hash_images, is_same_picture
from moganet.data.findings import Finding
from moganet.data.formats import fits_suffix
from moganet.data.read import Picture, read
from moganet.data.source import of_each
from moganet.data.targets import Marked
from moganet.errors import DataError
from moganet.progress import Progress, no_progress

IMBALANCE = 10  # the largest class against the smallest


@dataclass(frozen=True)
class Seen:
    """An image that was read whole: where it stands, its name, its target by name, and what tells it from others."""

    split: str
    index: int
    file: str
    label: str
    digest: bytes
    hashes: Hashes


def examine(dataset: Dataset, progress: Progress = no_progress) -> tuple[list[Finding], int]:
    """Read all images; give what is wrong with them and with the classes, and how many could be read."""
    findings: list[Finding] = []
    seen: list[Seen] = []
    for name, split in dataset.splits.items():
        depths = []
        results = of_each(split, partial(_examine_image, name, split, dataset.class_names), range(len(split)))
        with closing(results):
            for found, image, depth in progress(results, len(split), f"examine {name}"):
                findings += found
                seen += [image] if image is not None else []
                depths.append(depth)
        findings += [Finding("dark", name, detail) for detail in too_dark(depths)]
    findings += _copies(dataset, seen)
    for name, counts in class_counts(dataset).items():
        low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[high] > IMBALANCE * max(1, counts[low]):
            detail = f"{high} has {counts[high]} images, {low} {counts[low]}; see data.balanced and loss.class_weights"
            findings.append(Finding("imbalance", name, detail))
    return findings, len(seen)


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count the images of each class in each split."""
    return {
        name: dict(zip(dataset.class_names, split.targets.counts(len(dataset.class_names)).tolist(), strict=True))
        for name, split in dataset.splits.items()
    }


def pixel_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Count the pixels of each class in each split, where targets have any."""
    names = dataset.class_names
    areas = {name: split.targets.areas() for name, split in dataset.splits.items()}
    return {name: dict(zip(names, of.tolist(), strict=True)) for name, of in areas.items() if of is not None}


def things(dataset: Dataset) -> dict[str, Marked]:
    """Count the things that are marked in the images of each split, where targets have any."""
    found = {name: split.targets.marked() for name, split in dataset.splits.items()}
    return {name: of for name, of in found.items() if of is not None}


def _examine_image(
    name: str, split: Split, names: Sequence[str], index: int
) -> tuple[list[Finding], Seen | None, Depth | None]:
    shown, findings, depth = split.name_of(index), [], None
    try:
        if isinstance(split, FileSplit):
            picture = read(split.files[index], white_level=split.white_level)
            image, depth = torch.from_numpy(picture.pixels), picture.depth
            findings = _examine_file(split.files[index], picture)
        else:
            image = split[index].image
    except Exception as error:  # whatever foreign code raises is a fault of this file
        reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        return [Finding("unreadable", shown, reason)], None, None
    digest = hashlib.blake2b(str(tuple(image.shape)).encode() + image.numpy().tobytes(), digest_size=16).digest()
    label = split.targets.text(index, names)
    return findings, Seen(name, index, shown, label, digest, hash_images(image[None])), depth


def _examine_file(file: ImageFile, picture: Picture) -> list[Finding]:
    findings = []
    if isinstance(file, Path) and not fits_suffix(picture.format, file.suffix):  # within a table there are no files
        ending = f"ends in {file.suffix}" if file.suffix else "has no ending"
        findings.append(Finding("wrong-extension", str(file), f"is {picture.format}, but {ending}"))
    if min(picture.size) < TINY_SIDE:
        findings.append(Finding("tiny", str(file), f"{picture.size[0]}x{picture.size[1]} pixels"))
    return findings


def _copies(dataset: Dataset, seen: list[Seen]) -> list[Finding]:
    findings = []
    equal: dict[bytes, list[int]] = {}
    near = earlier_copies(Hashes.join([image.hashes for image in seen]))
    for number, image in enumerate(seen):
        before = equal.setdefault(image.digest, [])
        others = dict.fromkeys([*before, *near.get(number, [])])
        before.append(number)
        findings.append(_copy(dataset, image, [seen[i] for i in others]))
    return [found for found in findings if found is not None]


def _copy(dataset: Dataset, image: Seen, others: list[Seen]) -> Finding | None:
    """Name the gravest of the copies of an image."""
    if other := _same(dataset, image, [other for other in others if other.label != image.label]):
        detail = f"is {image.label!r}, but the same picture is {other.label!r} in {other.file}"
        return Finding("contradictory", image.file, detail)
    if other := next((other for other in others if other.split != image.split), None):
        label = "" if other.label == image.label else f", as {other.label!r}"
        return Finding("duplicate", image.file, f"in {image.split}, as {other.file} in {other.split}{label}")
    if other := _same(dataset, image, others):
        return Finding("duplicate", image.file, f"the same picture as {other.file}")
    return None


def _same(dataset: Dataset, image: Seen, others: list[Seen]) -> Seen | None:
    """Give the first that is the same picture, pixel for pixel or else encoded anew."""
    if exact := [other for other in others if other.digest == image.digest]:
        return exact[0]
    for other in others:
        if is_same_picture(*(dataset.splits[one.split][one.index].image for one in (image, other))):
            return other
    return None
