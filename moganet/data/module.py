"""Batches for training and evaluation, as a LightningDataModule.

Sets in memory are sliced a batch at a time; files are decoded by workers. Both reach the device as uint8, where
training's augmentations or the plain preprocessing turn them into the network's input.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from moganet.config import AugmentConfig, DataConfig, Preprocessing
from moganet.data.augment import BatchAugment, Mix, worker_transform
from moganet.data.preprocess import normalize, resize_and_crop
from moganet.data.source import ArraySplit, FileSplit, Sample, Split, spread
from moganet.data.source import Dataset as ImageDataset
from moganet.errors import DataError

MAX_UNREADABLE_IN_A_ROW = 100


class Unreadable(NamedTuple):
    """A file that was left out, and why."""

    file: str
    reason: str


class Batch(NamedTuple):
    """Images (B, C, H, W), labels (B,) or soft targets (B, classes), and the files that could not be read."""

    images: Tensor
    labels: Tensor
    unreadable: tuple[Unreadable, ...] = ()


class _ArrayBatches(Dataset[Batch]):
    """A split in memory, read a batch at a time by DataLoader's `__getitems__` protocol."""

    def __init__(self, split: ArraySplit, transform: Callable[[Tensor], Tensor] | None) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> Batch:
        images = self.split.images[indices]
        return Batch(self.transform(images) if self.transform else images, self.split.labels[indices])


class _ImageBatches(Dataset[Batch]):
    """A split read image by image, each brought to one size. What can't be read is named in the batch.

    `substitute` puts the next readable file in its place, as training needs; else the batch is shorter.
    """

    def __init__(self, split: Split, transform: Callable[[Tensor], Tensor], *, substitute: bool) -> None:
        self.split, self.transform, self.substitute = split, transform, substitute

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> Batch:
        images, labels, unreadable = [], [], []
        for index in indices:
            for attempt in range(MAX_UNREADABLE_IN_A_ROW if self.substitute else 1):
                position = (index + attempt) % len(self.split)
                try:
                    sample = self.split[position]
                except DataError as error:
                    unreadable.append(Unreadable(self._name(position), str(error)))
                    continue
                images.append(self.transform(sample.image))
                labels.append(sample.label)
                break
        if not images and self.substitute:
            raise DataError(f"{len(unreadable)} files in a row can't be read; the first: {unreadable[0].reason}")
        stacked = torch.stack(images) if images else torch.empty(0, dtype=torch.uint8)
        return Batch(stacked, torch.tensor(labels, dtype=torch.long), tuple(unreadable))

    def _name(self, position: int) -> str:
        return str(self.split.files[position]) if isinstance(self.split, FileSplit) else f"image {position}"


def evaluation_loader(
    split: Split, preprocessing: Preprocessing, batch_size: int, workers: int | None
) -> DataLoader[Batch]:
    """Load a split in order, decoded and brought to size, as uint8; `normalize` is left to the device."""
    resize = partial(resize_and_crop, preprocessing=preprocessing)
    split = split.with_channels(preprocessing.channels)
    if isinstance(split, ArraySplit):
        return _loader(_ArrayBatches(split, resize), batch_size, 0)
    return _loader(_ImageBatches(split, resize, substitute=False), batch_size, _num_workers(workers))


class ImageDataModule(pl.LightningDataModule):
    """A run's batches: shuffled and augmented for training, in order and plain for validation."""

    def __init__(
        self,
        dataset: ImageDataset,
        data: DataConfig,
        preprocessing: Preprocessing,
        augment: AugmentConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.dataset, self.data, self.preprocessing, self.seed = dataset, data, preprocessing, seed
        self.batch_size = data.batch_size  # an attribute of its own, since Lightning's finder sets it
        one_by_one = augment.auto_augment is not None or isinstance(dataset.split("train"), FileSplit)
        self.worker_transform = worker_transform(augment, preprocessing) if one_by_one else None
        self.augment = BatchAugment(augment, preprocessing, cropped=one_by_one)
        self.mix = Mix(augment, len(dataset.class_names))
        self.unreadable: dict[Unreadable, None] = {}  # in the order of their discovery
        self._check_sizes()

    def _check_sizes(self) -> None:
        number, size = len(self.dataset.split("train")), self.data.batch_size
        if size < 2:
            raise DataError("data.batch_size is 1, and batch norm can't learn from one image; use at least 2")
        if self.data.drop_last and number < size:
            raise DataError(
                f"the training set has {number} images, fewer than one batch of {size}; "
                f"use --set data.batch_size={max(2, number // 2)}"
            )
        if not self.data.drop_last and number % size == 1:
            raise DataError(
                f"the last batch of {number} images would be a single one, which batch norm can't learn from; "
                f"use --set data.drop_last=true or --set data.batch_size={size + 1}"
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        split, data = self.dataset.split("train").with_channels(self.preprocessing.channels), self.data
        generator = torch.Generator().manual_seed(self.seed)
        options: dict[str, Any] = {"drop_last": data.drop_last, "generator": generator}
        if data.balanced:
            weights = class_weights(split.labels, len(self.dataset.class_names))[split.labels].tolist()
            options["sampler"] = WeightedRandomSampler(weights, len(split), generator=generator)
        else:
            options["shuffle"] = True
        if self.worker_transform is None:
            assert isinstance(split, ArraySplit)
            return _loader(_ArrayBatches(split, None), self.batch_size, 0, **options)
        batches = _ImageBatches(split, self.worker_transform, substitute=True)
        return _loader(batches, self.batch_size, _num_workers(data.workers), **options)

    def val_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.dataset.split("val"), self.preprocessing, self.batch_size, self.data.workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn a batch on the device into the network's input."""
        self.unreadable.update(dict.fromkeys(batch.unreadable))
        if self.trainer is not None and self.trainer.training:
            return self.augmented(batch)
        return Batch(normalize(batch.images, self.preprocessing), batch.labels)

    def augmented(self, batch: Batch) -> Batch:
        """Augment and mix a batch of training images."""
        return Batch(*self.mix(self.augment(batch.images), batch.labels))


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Give each class a weight inverse to its number of images, so that the mean over images is 1."""
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    return len(labels) / (num_classes * counts.float())


def _identity(batch: Any) -> Any:
    return batch


def _num_workers(workers: int | None) -> int:
    return min(os.cpu_count() or 1, 16) if workers is None else workers


def _loader(batches: Dataset[Batch], batch_size: int, workers: int, **options: Any) -> DataLoader[Batch]:
    return DataLoader(
        batches,
        batch_size,
        num_workers=workers,
        collate_fn=_identity,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def take(split: Split, number: int) -> list[Sample]:
    """Give readable samples of a split, `number` at the most, evenly spread over it."""
    samples = []
    for index in spread(len(split), number):
        try:
            samples.append(split[index])
        except DataError:
            continue
    return samples
