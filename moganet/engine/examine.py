"""Every image of a data set, read whole by the one reader: what is wrong with it, and which are the same picture."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from moganet.data import Dataset, FileSplit, Finding, Split
from moganet.data.duplicates import TINY_SIDE, Hashes, earlier_copies, hash_images, is_same_picture
from moganet.data.preprocess import decode
from moganet.engine.evaluate import Progress, no_progress
from moganet.errors import DataError

IMBALANCE = 10  # the largest class against the smallest
FAMILIES = {"MPO": "JPEG", "DIB": "BMP", "CUR": "ICO", "PFM": "PPM"}  # formats that share their endings


@dataclass(frozen=True)
class Seen:
    """An image that was read whole: where it stands, its name and label, and what tells it from others."""

    split: str
    index: int
    file: str
    label: int
    digest: bytes
    hashes: Hashes


def examine(dataset: Dataset, progress: Progress = no_progress) -> tuple[list[Finding], int]:
    """Read all images; give what is wrong with them and with the classes, and how many could be read."""
    findings: list[Finding] = []
    seen: list[Seen] = []
    for name, split in dataset.splits.items():
        pool = ThreadPoolExecutor()
        try:
            results = pool.map(lambda i, name=name, split=split: _examine_image(name, split, i), range(len(split)))
            for found, image in progress(results, len(split), f"examine {name}"):
                findings += found
                seen += [image] if image is not None else []
        finally:
            pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest
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
        name: dict(
            zip(
                dataset.class_names,
                torch.bincount(split.labels, minlength=len(dataset.class_names)).tolist(),
                strict=True,
            )
        )
        for name, split in dataset.splits.items()
    }


def _examine_image(name: str, split: Split, index: int) -> tuple[list[Finding], Seen | None]:
    """Read one image; give what is wrong with it, and what tells it from others."""
    file = split.files[index] if isinstance(split, FileSplit) else None
    path = Path(file) if isinstance(file, str | os.PathLike) else None
    try:
        image = decode(path) if path else split[index].image
        findings = _examine_file(path, image) if path else []
    except DataError as error:
        return [Finding("unreadable", str(path or index), str(error))], None
    except Exception as error:  # whatever a decoder raises is a fault of this file
        return [Finding("unreadable", str(path or index), f"{type(error).__name__}: {error}")], None
    digest = hashlib.blake2b(str(tuple(image.shape)).encode() + image.numpy().tobytes(), digest_size=16).digest()
    shown = str(path) if path else split[index].name
    return findings, Seen(name, index, shown, int(split.labels[index]), digest, hash_images(image[None]))


def _examine_file(path: Path, image: Tensor) -> list[Finding]:
    findings = []
    with Image.open(path) as opened:
        kind = FAMILIES.get(opened.format or "", opened.format)
    expected = Image.registered_extensions().get(path.suffix.lower())
    if FAMILIES.get(expected or "", expected) != kind:
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        findings.append(Finding("wrong-extension", str(path), f"is {kind}, but {ending}"))
    if min(image.shape[1:]) < TINY_SIDE:
        findings.append(Finding("tiny", str(path), f"{image.shape[2]}x{image.shape[1]} pixels"))
    return findings


def _copies(dataset: Dataset, seen: list[Seen]) -> list[Finding]:
    """Name the images that are the same picture as one before: under another label, in another split, or beside it."""
    findings = []
    equal: dict[bytes, list[int]] = {}
    near = earlier_copies(Hashes.join([image.hashes for image in seen]))
    for number, image in enumerate(seen):
        before = equal.setdefault(image.digest, [])
        others = dict.fromkeys([*before, *near.get(number, [])])
        before.append(number)
        found = _copy(dataset, image, [seen[i] for i in others])
        findings += [found] if found else []
    return findings


def _copy(dataset: Dataset, image: Seen, others: list[Seen]) -> Finding | None:
    """Name the gravest of the copies of an image."""
    same = list(_same(dataset, image, [other for other in others if other.label != image.label]))
    if same:
        names = dataset.class_names
        detail = f"is {names[image.label]!r}, but the same picture is {names[same[0].label]!r} in {same[0].file}"
        return Finding("contradictory", image.file, detail)
    if across := [other for other in others if other.split != image.split]:
        other = across[0]
        label = "" if other.label == image.label else f", as {dataset.class_names[other.label]!r}"
        return Finding("duplicate", image.file, f"in {image.split}, as {other.file} in {other.split}{label}")
    for other in _same(dataset, image, others):
        return Finding("duplicate", image.file, f"the same picture as {other.file}")
    return None


def _same(dataset: Dataset, image: Seen, others: list[Seen]) -> Iterator[Seen]:
    """Give those that are the same picture, pixel for pixel or encoded anew."""
    exact = [other for other in others if other.digest == image.digest]
    yield from exact
    for other in [] if exact else others:
        pair = [dataset.splits[one.split][one.index].image for one in (image, other)]
        if is_same_picture(*pair):
            yield other
