"""`doctor`: what is wrong with a data set before it is trained on, and what this machine offers."""

import importlib.util
import itertools
import os
import platform
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from moganet.data import Dataset, FileSplit, Split, open_data
from moganet.data.deep_grey import Depth, too_dark
from moganet.data.duplicates import TINY_SIDE, Hashes, hash_images, near_copies
from moganet.data.formats import fits_suffix
from moganet.data.read import read
from moganet.engine.evaluate import Progress, no_progress
from moganet.errors import DataError
from moganet.inference.runtimes import has_fast_bf16
from moganet.notices import noted

IMBALANCE = 10  # the largest class against the smallest
EXTRAS = {"table": "pyarrow", "report": "cleanlab", "heic": "pillow_heif"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, where, and what it is."""

    kind: str
    file: str
    detail: str


class Hashed(NamedTuple):
    """An image's name, and its perceptual hash."""

    file: str
    hashes: Hashes


@noted
def doctor(data: str | None = None, *, progress: Progress = no_progress) -> dict[str, Any]:
    """Examine the environment, and a data set where one is given.

    Gives `environment` and, with data, `data` (`splits` with images by class), `findings` ({"kind", "file",
    "detail"}: unreadable, wrong-extension, tiny, dark (images of more than 8 bits, all far below white), duplicate,
    imbalance, note) and `counts` by kind.
    """
    result: dict[str, Any] = {"environment": environment()}
    if data is not None:
        dataset = open_data(data)
        findings = [*(Finding("note", dataset.spec, note) for note in dataset.notes), *examine(dataset, progress)]
        result["data"] = {"spec": dataset.spec, "splits": _splits(dataset)}
        result["findings"] = [vars(finding) for finding in findings]
        result["counts"] = dict(Counter(finding.kind for finding in findings))
    return result


def environment() -> dict[str, Any]:
    """Describe the machine and the versions that matter."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    packages = ("moganet", "torch", "torchvision", "timm", "pytorch-lightning", "kornia")
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "gpus": gpus,
        "fast_bf16": has_fast_bf16(torch.device("cuda" if gpus else "cpu")),
        "extras": {extra: importlib.util.find_spec(module) is not None for extra, module in EXTRAS.items()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _splits(dataset: Dataset) -> dict[str, dict[str, int]]:
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


def examine(dataset: Dataset, progress: Progress = no_progress) -> list[Finding]:
    """List what is wrong with a data set's images and classes."""
    findings: list[Finding] = []
    hashes: dict[str, list[Hashed]] = {name: [] for name in dataset.splits}
    for name, split in dataset.splits.items():
        with ThreadPoolExecutor() as pool:
            results = pool.map(lambda i, split=split: _examine_image(split, i), range(len(split)))
            depths: list[Depth | None] = []
            for found, hashed, depth in progress(results, len(split), f"examine {name}"):
                findings += found
                depths.append(depth)
                if hashed is not None:
                    hashes[name].append(hashed)
            findings += [Finding("dark", name, detail) for detail in too_dark(depths)]
    findings += _duplicates(hashes)
    for name, counts in _splits(dataset).items():
        low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[high] > IMBALANCE * max(1, counts[low]):
            detail = f"{high} has {counts[high]} images, {low} {counts[low]}; see data.balanced and loss.class_weights"
            findings.append(Finding("imbalance", name, detail))
    return findings


def _examine_image(split: Split, index: int) -> tuple[list[Finding], Hashed | None, Depth | None]:
    """Read one image; give what is wrong with it, its perceptual hash where it has one, and its depth beyond 8 bits."""
    if not isinstance(split, FileSplit):
        sample = split[index]
        return [], _hash(sample.name, sample.image.numpy()), None
    path = Path(split.files[index])
    try:
        picture = read(path)
    except DataError as error:
        return [Finding("unreadable", str(path), str(error))], None, None
    findings = []
    if not fits_suffix(picture.format, path.suffix):
        findings.append(Finding("wrong-extension", str(path), f"is {picture.format}, but ends in {path.suffix}"))
    if min(picture.size) < TINY_SIDE:
        findings.append(Finding("tiny", str(path), f"{picture.size[0]}x{picture.size[1]} pixels"))
    return findings, _hash(str(path), picture.pixels.numpy()), picture.depth


def _hash(file: str, image: np.ndarray) -> Hashed:
    return Hashed(file, hash_images(torch.from_numpy(image)[None]))


def _duplicates(hashes: dict[str, list[Hashed]]) -> list[Finding]:
    """Name the images that stand, nearly equal, in more than one split."""
    joined = {name: Hashes.join([one.hashes for one in some]) for name, some in hashes.items()}
    return [
        Finding("duplicate", hashes[second][i].file, f"in {second}, as {hashes[first][j].file} in {first}")
        for first, second in itertools.combinations(hashes, 2)
        for i, j in near_copies(joined[first], joined[second])
    ]
