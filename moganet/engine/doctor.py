"""`doctor`: what is wrong with a data set before it is trained on, and what this machine offers."""

import importlib
import importlib.util
import os
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from moganet.compat import cpu_capability
from moganet.data.class_names import find_lookalikes
from moganet.data.findings import GRAVE, Finding, UnusableDataError
from moganet.devices import choose_device, devices, gpus
from moganet.errors import ConfigError
from moganet.machine import has_fast_bf16, num_cores
from moganet.notices import noted, say
from moganet.processors import choice_of_threads
from moganet.progress import Progress, no_progress
from moganet.results import Record, Result

if TYPE_CHECKING:
    from moganet.data import Dataset
    from moganet.data.in_python import Data
    from moganet.data.targets import Marked

EXTRAS = {"table": "pyarrow", "report": "cleanlab", "heic": "pillow_heif"}


class Environment(Record):
    """What a machine offers: versions of packages by name, its processor and GPUs, which extras are installed.

    cores: of the machine; usable_cores: that this process may use, by affinity and quota. threads: that compute by
    default, and threads_by whose word. devices: what may be asked for; device is what "auto" takes.
    """

    python: str
    packages: dict[str, str | None]
    processor: str
    cores: int | None
    usable_cores: int
    threads: int
    threads_by: str
    memory_gb: float | None
    disk_free_gb: float
    gpus: list[str]
    devices: list[str]
    device: str
    fast_bf16: bool
    extras: dict[str, bool]


class Objects(Record):
    """What is marked in a split's images: things by class, by size, crowds; and how many images have none.

    small: of less than 32 x 32 pixels, large: of 96 x 96 and more. crowds are in no other number.
    """

    classes: dict[str, int]
    small: int
    medium: int
    large: int
    crowds: int
    images_without: int


class Examined(Record):
    """A data set that was looked at: images by split and class, how many there are, and how many were read whole.

    pixels: of masks, by split and class. objects: of boxes, by split. picture: of some
    images with what is known of them, where one was asked for.
    """

    spec: str
    splits: dict[str, dict[str, int]]
    pixels: dict[str, dict[str, int]] | None = None
    objects: dict[str, Objects] | None = None
    picture: str | None = None
    images: int
    read_whole: int


class Found(Record):
    """One thing that is wrong: its kind, where, and what it is."""

    kind: str
    file: str
    detail: str


class Doctor(Result):
    """What was found of the environment and, with data, of a data set. counts: of findings, by kind.

    ok: whether nothing is unreadable or contradictory, which are the kinds unreadable, contradictory (one picture under
    two labels), structure, one-class. The others: wrong-extension, tiny, dark (images of more than 8 bits, all far
    below white), duplicate, imbalance, classes, empty, passed-over, and note, which is no fault.
    """

    environment: Environment
    data: Examined | None = None
    findings: list[Found] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)
    ok: bool = True


@noted
def doctor(
    data: "Data | None" = None, *, picture: str | Path | None = None, progress: Progress = no_progress
) -> Doctor:
    """Examine the environment, and a data set where one is given.

    picture: a file into which some images of the set are drawn, each with its class, its mask, or its boxes.
    """
    if data is None:
        if picture is not None:
            raise ConfigError("a picture is of a data set; give --data SOURCE[:PATH] too")
        return Doctor(environment=environment())
    dataset = _open_whatever(data)
    looking = importlib.import_module("moganet.data.examine")  # which needs torch, as a data set does
    findings, number = looking.examine(dataset, progress)
    known = {finding.detail for finding in dataset.findings}
    notes = [Finding("note", dataset.spec, note) for note in dataset.notes if note not in known]
    findings = [*dataset.findings, *find_lookalikes(dataset.class_names, dataset.spec), *notes, *findings]
    total = sum(len(split) for split in dataset.splits.values())
    counts = Counter(finding.kind for finding in findings)
    more = {"pixels": pixels} if (pixels := looking.pixel_counts(dataset)) else {}
    if marked := looking.things(dataset):
        more["objects"] = {name: _objects(of, dataset.class_names) for name, of in marked.items()}
    if picture is not None:
        importlib.import_module("moganet.engine.preview").draw_samples(dataset, Path(picture))
        more["picture"] = str(picture)
    splits = looking.class_counts(dataset)
    return Doctor(
        environment=environment(),
        data=Examined(spec=dataset.spec, splits=splits, images=total, read_whole=number, **more),
        findings=[Found(**vars(finding)) for finding in findings],
        counts=dict(counts),
        ok=not GRAVE & counts.keys(),
    )


def _objects(marked: "Marked", names: Sequence[str]) -> Objects:
    classes = dict(zip(names, marked.classes.tolist(), strict=True))
    sizes = {"small": marked.small, "medium": marked.medium, "large": marked.large}
    return Objects(classes=classes, **sizes, crowds=marked.crowds, images_without=marked.empty)


def _open_whatever(data: "Data") -> "Dataset":
    """Open a set, also one that can't be used as it is: its faults are findings then, and the rest is looked at."""
    try:
        opened: Dataset = importlib.import_module("moganet.data").open_data(data)
        return opened
    except UnusableDataError as error:
        for note in error.dataset.notes:
            say(note, doubtful=True)
        return error.dataset


def environment() -> Environment:
    """Describe the machine and the versions that matter."""
    packages = ("moganet", "torch", "torchvision", "timm", "pytorch-lightning", "kornia", "openvino")
    computing, device = choice_of_threads(), choose_device()
    return Environment(
        python=platform.python_version(),
        packages={name: _version(name) for name in packages},
        processor=cpu_capability(),
        cores=os.cpu_count(),
        usable_cores=num_cores(),
        threads=computing.number,
        threads_by=computing.why,
        memory_gb=_memory_gb(),
        disk_free_gb=round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        gpus=gpus(),
        devices=devices(),
        device=device,
        fast_bf16=has_fast_bf16(device),
        extras={extra: importlib.util.find_spec(module) is not None for extra, module in EXTRAS.items()},
    )


def _memory_gb() -> float | None:
    """Give the machine's memory; None where the system does not say it so (Windows)."""
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
