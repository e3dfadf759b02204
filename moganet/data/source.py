"""What a data source gives: named splits of labelled images, in memory or as files."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from torch import Tensor

from moganet.data.preprocess import decode, match_channels
from moganet.errors import DataError


class Sample(NamedTuple):
    """One labelled image: uint8 (C, H, W), the class's index, and a name that finds it again."""

    image: Tensor
    label: int
    name: str


@dataclass(frozen=True)
class ArraySplit:
    """Images that are held decoded: uint8 (N, C, H, W), with labels (N,)."""

    images: Tensor
    labels: Tensor
    name: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], int(self.labels[index]), f"{self.name}/{index}")

    def subset(self, indices: Sequence[int]) -> Self:
        """Keep the images at `indices`, in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return type(self)(self.images[chosen], self.labels[chosen], self.name)

    def with_channels(self, channels: int) -> Self:
        """Give the split with images of that many channels."""
        return replace(self, images=match_channels(self.images, channels))


@dataclass(frozen=True)
class FileSplit:
    """Images that stay files until they are asked for.

    groups: what an image belongs to, where images of one group must not be divided between training and validation.
    white_level: as in Preprocessing.
    """

    files: Sequence[Path]
    labels: Tensor
    channels: int = 3
    groups: Sequence[str] | None = None
    white_level: float | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        return Sample(decode(file, self.channels, self.white_level), int(self.labels[index]), str(file))

    def subset(self, indices: Sequence[int]) -> Self:
        """Keep the files at `indices`, in that order."""
        files = [self.files[i] for i in indices]
        groups = None if self.groups is None else [self.groups[i] for i in indices]
        labels = self.labels[torch.as_tensor(indices, dtype=torch.long)]
        return replace(self, files=files, labels=labels, groups=groups)

    def with_channels(self, channels: int) -> Self:
        """Give the split with images of that many channels."""
        return replace(self, channels=channels)


Split = ArraySplit | FileSplit


@dataclass(frozen=True)
class Dataset:
    """A source's splits ("train", "val", "test", those that it has) and the names of their classes.

    spec: the text that opens it again. notes: what a user should hear about it (files that were left out).
    """

    spec: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    notes: tuple[str, ...] = field(default=())

    def split(self, name: str) -> Split:
        """Give a split by name. Raises DataError that lists those that exist."""
        if name not in self.splits:
            raise DataError(f"{self.spec} has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]

    def with_white_level(self, level: float | None) -> "Dataset":
        """Give the data set with files read by that white level (as in Preprocessing)."""
        read = {id(s): replace(s, white_level=level) if isinstance(s, FileSplit) else s for s in self.splits.values()}
        return replace(self, splits={name: read[id(split)] for name, split in self.splits.items()})

    def fingerprint(self) -> str:
        """Give a hash of the class names and of which images stand in which split, wherever the files lie."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name}\n".encode())
            if isinstance(split, FileSplit):
                pairs = zip(split.labels.tolist(), split.files, strict=True)
                digest.update("\n".join(sorted(f"{label} {file.name}" for label, file in pairs)).encode())
            else:
                digest.update(
                    split.labels.numpy().tobytes() + split.images.sum((1, 2, 3), dtype=torch.int64).numpy().tobytes()
                )
        return digest.hexdigest()

    def with_validation(self, validation: int | float | str | None, seed: int) -> "Dataset":
        """Give the data set with a "val" split, as DataConfig.validation says."""
        if validation in self.splits and isinstance(validation, str):
            return Dataset(self.spec, self.class_names, {**self.splits, "val": self.splits[validation]}, self.notes)
        if isinstance(validation, str):
            raise DataError(
                f"data.validation is {validation!r}, which {self.spec} does not have; give a fraction, say 0.2"
            )
        if validation is None and "val" in self.splits:
            return self
        kept, held = _hold_out(self.split("train"), 0.2 if validation is None else validation, seed)
        return Dataset(self.spec, self.class_names, {**self.splits, "train": kept, "val": held}, self.notes)

    def with_fraction(self, fraction: float, seed: int) -> "Dataset":
        """Keep a share of each class's training images, at least one, drawn by the seed: a larger share has the same.

        What is left out stands in no split.
        """
        if fraction == 1.0:
            return self
        train, generator = self.split("train"), np.random.default_rng(seed)
        labels = train.labels.numpy()
        kept = []
        for label in np.unique(labels):
            drawn = generator.permutation(np.flatnonzero(labels == label))
            kept.append(drawn[: max(1, round(fraction * len(drawn)))])
        part = train.subset(np.sort(np.concatenate(kept)).tolist())
        return Dataset(self.spec, self.class_names, {**self.splits, "train": part}, self.notes)


def spread(total: int, number: int) -> list[int]:
    """Choose up to `number` of `total` indices, evenly spread over all."""
    return sorted({int(i * total / min(number, total)) for i in range(min(number, total))})


def concatenate(splits: Sequence[Split]) -> Split:
    """Join splits of one kind in their order."""
    labels = torch.cat([split.labels for split in splits])
    arrays = [split for split in splits if isinstance(split, ArraySplit)]
    if arrays:
        return ArraySplit(torch.cat([split.images for split in arrays]), labels, "all")
    files = [split for split in splits if isinstance(split, FileSplit)]
    return replace(files[0], files=[file for split in files for file in split.files], labels=labels, groups=None)


def _hold_out(split: Split, amount: int | float, seed: int) -> tuple[Split, Split]:
    """Divide a split by the seed, each class in proportion, so that the second part has `amount` of it.

    A class with a single image stays in the first part. Groups are not divided; the amount is then met as nearly as
    whole groups allow.
    """
    total = len(split)
    number = amount if isinstance(amount, int) else max(1, round(amount * total))
    if number >= total:
        raise DataError(f"data.validation asks for {number} of {total} training images; hold back fewer")
    groups = split.groups if isinstance(split, FileSplit) else None
    held = _held_groups(split, groups, number, seed) if groups else _held_images(split.labels.numpy(), number, seed)
    kept = np.setdiff1d(np.arange(total), held)
    return split.subset(kept.tolist()), split.subset(held.tolist())


def _held_images(labels: np.ndarray, number: int, seed: int) -> np.ndarray:
    counts = np.bincount(labels)
    candidates = np.flatnonzero(counts[labels] > 1)  # a class's only image is needed for training
    if number >= len(candidates):
        raise DataError(
            f"data.validation asks for {number} images, but only {len(candidates)} have another of their class"
        )
    classes = int((counts > 1).sum())
    stratify = labels[candidates] if classes <= min(number, len(candidates) - number) else None
    _, held = train_test_split(candidates, test_size=number, random_state=seed, stratify=stratify)
    return np.sort(held)


def _held_groups(split: Split, groups: Sequence[str], number: int, seed: int) -> np.ndarray:
    folds = max(2, round(len(split) / number))
    if len(set(groups)) < folds:
        raise DataError(f"{len(set(groups))} groups can't be divided into {folds} parts; hold back more, say 0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns of classes with fewer images than folds
        divided = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        _, held = next(iter(divided.split(np.zeros(len(split)), split.labels.numpy(), groups)))
    if not len(held):
        raise DataError("the groups are so large that none can be held back; make smaller ones or name a split")
    return np.sort(held)
