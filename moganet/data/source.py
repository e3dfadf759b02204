"""What a data source gives: named splits of labelled images, in memory or as files."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.config.recipe import fold_of
from moganet.data.contents import ImageFile, hash_arrays, hash_files
from moganet.data.divide import choose_fold, choose_held_out, choose_share
from moganet.data.findings import Finding
from moganet.data.preprocess import decode, match_channels
from moganet.data.targets import Targets, TensorTargets, as_targets
from moganet.errors import DataError, did_you_mean
from moganet.notices import say
from moganet.numbers import count

OF_CONTENTS, OF_TARGETS = "contents:", "targets:"  # how a fingerprint begins
Given = TypeVar("Given")
ANY_BYTES = ("utf-8", "surrogateescape")


class Sample(NamedTuple):
    """One labelled image: uint8 (C, H, W), its target (a class's index, or what the task has), a name to find it by."""

    image: Tensor
    target: Any
    name: str

    @property
    def label(self) -> Any:  # what a target is called where images have one class each
        return self.target


class Split(Protocol):
    """Images with their targets, in an order."""

    @property
    def targets(self) -> Targets: ...
    @property
    def in_memory(self) -> bool: ...  # whether all of its images are held decoded
    @property
    def groups(self) -> Sequence[str] | None: ...  # images of one are not divided between training and validation
    @property
    def changes(self) -> bool: ...  # whether an image is another one each time, so that its content does not tell it
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
    def name_of(self, index: int) -> str: ...  # by which an image is found again
    def contents(self) -> list[bytes]: ...  # by which an image is known, the same for all that can't be read
    def subset(self, indices: Sequence[int]) -> Self: ...  # in that order
    def joined(self, others: Sequence[Self]) -> Self: ...  # of its own kind
    def with_targets(self, targets: Targets) -> Self: ...
    def with_channels(self, channels: int) -> Self: ...
    def with_white_level(self, level: float | None) -> "Split": ...  # as in Preprocessing


class WithTargets:
    """What all kinds of splits share."""

    targets: Targets

    @property
    def changes(self) -> bool:
        return False

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", as_targets(self.targets))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> Tensor:
        """Give targets that are one tensor: classes (N,), or rows of 0 and 1 (N, classes)."""
        assert isinstance(self.targets, TensorTargets)
        return self.targets.values

    def with_targets(self, targets: Targets) -> Self:
        return replace(self, targets=targets)  # type: ignore[type-var]  # both kinds are dataclasses


@dataclass(frozen=True)
class ArraySplit(WithTargets):
    """Images that are held decoded: uint8 (N, C, H, W), with their targets. places: where they stood; None is here."""

    images: Tensor
    targets: Targets
    name: str = ""
    places: Sequence[int] | None = None
    in_memory: ClassVar[bool] = True
    groups: ClassVar[None] = None

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.targets[index], self.name_of(index))

    def name_of(self, index: int) -> str:
        return f"{self.name}/{index if self.places is None else self.places[index]}"

    def contents(self) -> list[bytes]:
        return hash_arrays(self.images)

    def subset(self, indices: Sequence[int]) -> Self:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        places = tuple(chosen.tolist() if self.places is None else (self.places[i] for i in indices))
        return replace(self, images=self.images[chosen], targets=self.targets.subset(indices), places=places)

    def joined(self, others: Sequence[Self]) -> Self:
        images = torch.cat([self.images, *(other.images for other in others)])
        targets = self.targets.joined([other.targets for other in others])
        return replace(self, images=images, targets=targets, places=None)

    def with_channels(self, channels: int) -> Self:
        return replace(self, images=match_channels(self.images, channels))

    def with_white_level(self, level: float | None) -> Self:
        return self  # they were read


@dataclass(frozen=True)
class FileSplit(WithTargets):
    """Images that stay files until they are asked for."""

    files: Sequence[ImageFile]
    targets: Targets
    channels: int = 3
    groups: Sequence[str] | None = None
    known: dict[ImageFile, bytes] = field(default_factory=dict, repr=False, compare=False)  # contents; parts share it
    white_level: float | None = None  # as in Preprocessing
    buffer: int = 0  # of files within shards, the images that are shuffled as the shards are read in turn; 0: all
    in_memory: ClassVar[bool] = False

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        return Sample(decode(file, self.channels, self.white_level), self.targets[index], str(file))

    def name_of(self, index: int) -> str:
        return str(self.files[index])

    def contents(self) -> list[bytes]:
        unknown = [file for file in dict.fromkeys(self.files) if file not in self.known]
        self.known.update(zip(unknown, hash_files(unknown), strict=True))
        return [self.known[file] for file in self.files]

    def subset(self, indices: Sequence[int]) -> Self:
        groups = None if self.groups is None else [self.groups[i] for i in indices]
        targets = self.targets.subset(indices)
        return replace(self, files=[self.files[i] for i in indices], targets=targets, groups=groups)

    def joined(self, others: Sequence[Self]) -> Self:
        targets = self.targets.joined([other.targets for other in others])
        files = [*self.files, *(file for other in others for file in other.files)]
        known = [split.groups for split in (self, *others) if split.groups is not None]
        groups = [group for some in known for group in some] if len(known) == 1 + len(others) else None
        return replace(self, files=files, targets=targets, groups=groups)

    def with_channels(self, channels: int) -> Self:
        return replace(self, channels=channels)

    def with_white_level(self, level: float | None) -> Self:
        return replace(self, white_level=level)


@dataclass(frozen=True)
class Dataset:
    """A source's splits ("train", "val", "test", those that it has) and the names of their classes.

    origin: the whole set, before it was divided, where no text opens it again.
    """

    spec: str  # the text that opens it again
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    notes: tuple[str, ...] = ()  # for a user to hear: what was taken for what, what was left out
    findings: tuple[Finding, ...] = ()  # what of it is wrong, for the doctor
    origin: "Dataset | None" = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())
        return f"Dataset({self.spec}: {len(self.class_names)} classes, images: {sizes})"

    @property
    def source(self) -> "str | Dataset":
        """Give what opens it again: its text, or the whole set."""
        return self.spec if self.origin is None else self.origin

    def split(self, name: str) -> Split:
        """Give a split by name. Raises DataError that lists those that exist."""
        if name not in self.splits:
            like = did_you_mean(name, self.splits)
            raise DataError(f"{self.spec} has no split {name!r}; {like}it has {', '.join(self.splits)}")
        return self.splits[name]

    def distinct(self) -> dict[str, Split]:
        """Give each split once, by its first name: "val" may be the test set itself."""
        first: dict[int, str] = {}
        return {name: split for name, split in self.splits.items() if first.setdefault(id(split), name) == name}

    def with_white_level(self, level: float | None) -> "Dataset":
        """Give the data set with images read by that white level (as in Preprocessing)."""
        read = {id(split): split.with_white_level(level) for split in self.splits.values()}
        return replace(self, splits={name: read[id(split)] for name, split in self.splits.items()})

    def fingerprint(self) -> str:
        """Give a hash of classes and of images' contents, split by split in their order; files' names are no part."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name} {len(split)}\n".encode())
            digest.update(split.targets.identity() + b"".join(split.contents()))
        of = OF_TARGETS if any(split.changes for split in self.splits.values()) else OF_CONTENTS
        return f"{of}{digest.hexdigest()}"

    def recognised(self, fingerprint: str) -> Literal["contents", "targets", "names", None]:
        """Tell by what a fingerprint is this data set's, if it is: those of before 2026-11-27 are of files' names.

        "targets": by these, their number and their order, where the images are others each time they are read.
        """
        if fingerprint.startswith((OF_CONTENTS, OF_TARGETS)):
            known = fingerprint == self.fingerprint()
            return None if not known else "contents" if fingerprint.startswith(OF_CONTENTS) else "targets"
        if fingerprint != self._fingerprint_before():
            return None
        return "names" if any(isinstance(split, FileSplit) for split in self.splits.values()) else "contents"

    def _fingerprint_before(self) -> str:
        digest = hashlib.sha256("\n".join(self.class_names).encode(*ANY_BYTES))
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name}\n".encode())
            if isinstance(split, FileSplit):
                pairs = zip(split.targets.strata().tolist(), split.files, strict=True)
                digest.update("\n".join(sorted(f"{label} {file.name}" for label, file in pairs)).encode(*ANY_BYTES))
            elif isinstance(split, ArraySplit):
                sums = split.images.sum((1, 2, 3), dtype=torch.int64)
                digest.update(split.targets.identity() + sums.numpy().tobytes())
        return digest.hexdigest()

    def with_validation(self, validation: int | float | str | None, seed: int) -> "Dataset":
        """Give the data set with a "val" split, as DataConfig.validation says."""
        if (fold := fold_of(validation)) is not None:
            whole = self.undivided()
            return self._held_back(whole, self.places_of(fold, seed, whole))
        if validation in self.splits and isinstance(validation, str):
            return replace(self, splits={**self.splits, "val": self.splits[validation]})
        if isinstance(validation, str):
            what = f"data.validation is {validation!r}, which {self.spec} does not have"
            raise DataError(f"{what}; give a fraction, say 0.2")
        if validation is None and "val" in self.splits:
            return self
        train, amount = self.split("train"), 0.2 if validation is None else validation
        held = choose_held_out(train.targets.strata(), amount, seed, train.groups, train.contents())
        if "val" in self.splits:
            own = count(len(self.splits["val"]), "image")
            say(f"{self.spec} has a val of its own: its {own} are left out, since a part of train is held back instead")
        return self._held_back(train, held)

    def _held_back(self, images: Split, held: NDArray[np.int64]) -> "Dataset":
        kept = np.setdiff1d(np.arange(len(images)), held)
        parts = {"train": images.subset(kept.tolist()), "val": images.subset(held.tolist())}
        return replace(self, splits={**self.splits, **parts})

    def undivided(self) -> Split:
        """Give the images of "train" and "val" together, which folds are parts of; those of "test" are none of them."""
        train, val = self.split("train"), self.splits.get("val")
        return train if val is None or val is train or val is self.splits.get("test") else concatenate([train, val])

    def places_of(self, fold: tuple[int, int], seed: int, whole: Split | None = None) -> NDArray[np.int64]:
        """Give the places, in order, that a part of the undivided images has among them."""
        whole = whole or self.undivided()
        return choose_fold(whole.targets.strata(), fold, seed, whole.groups, whole.contents())

    def with_fraction(self, fraction: float, seed: int) -> "Dataset":
        """Keep a share of each class's training images, at least one; the rest stands in no split."""
        if fraction == 1.0:
            return self
        train = self.split("train")
        part = train.subset(choose_share(train.targets.strata(), fraction, seed).tolist())
        return replace(self, splits={**self.splits, "train": part})


def of_each(split: Split, function: Callable[[int], Given], places: Sequence[int]) -> Generator[Given]:
    """Give what a function finds at places of a split, in order; by threads where files are read.

    What a caller's own code gives is asked for by one thread: it may know of no others.
    """
    if not isinstance(split, FileSplit):
        yield from map(function, places)
        return
    pool = ThreadPoolExecutor()
    try:
        yield from pool.map(function, places)
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest


def concatenate(splits: Sequence[Split]) -> Split:
    """Join splits of one kind in their order."""
    first, *others = splits
    whole = first.joined(others) if others else first
    return replace(whole, name="all") if isinstance(whole, ArraySplit) else whole
