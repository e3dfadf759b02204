"""Batches for training and evaluation, as a LightningDataModule.

Sets in memory are sliced a batch at a time; files are decoded by workers. Both reach the device as uint8, where
training's augmentations or the plain preprocessing turn them into the network's input.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from moganet.config import AugmentConfig, DataConfig, Preprocessing
from moganet.data.augment import BatchAugment, Mix, RandomCropToSize, match_channels
from moganet.data.preprocess import normalize, resize_and_crop
from moganet.data.source import ArraySplit, FileSplit, Split
from moganet.data.source import Dataset as ImageDataset
from moganet.errors import DataError

MAX_UNREADABLE_IN_A_ROW = 100


class Batch(NamedTuple):
    """Images (B, C, H, W), labels (B,) or soft targets (B, classes), and the files that could not be read."""

    images: Tensor
    labels: Tensor
    unreadable: tuple[str, ...] = ()


class _ArrayBatches(Dataset[Batch]):
    """A split in memory, read a batch at a time by DataLoader's `__getitems__` protocol."""

    def __init__(self, split: ArraySplit, channels: int, transform: Callable[[Tensor], Tensor] | None) -> None:
        self.split, self.channels, self.transform = split, channels, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> Batch:
        images = match_channels(self.split.images[indices], self.channels)
        return Batch(self.transform(images) if self.transform else images, self.split.labels[indices])


class _FileBatches(Dataset[Batch]):
    """A split of files, each brought to one size. What can't be read is named in the batch.

    `substitute` puts the next readable file in its place, as training needs; else the batch is shorter.
    """

    def __init__(self, split: FileSplit, transform: Callable[[Tensor], Tensor], *, substitute: bool) -> None:
        self.split, self.transform, self.substitute = split, transform, substitute

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[int]) -> Batch:
        images, labels, unreadable = [], [], []
        for index in indices:
            for attempt in range(MAX_UNREADABLE_IN_A_ROW if self.substitute else 1):
                try:
                    sample = self.split[(index + attempt) % len(self.split)]
                except DataError as error:
                    unreadable.append(str(error))
                    continue
                images.append(self.transform(sample.image))
                labels.append(sample.label)
                break
        if not images and self.substitute:
            raise DataError(f"{len(unreadable)} files in a row can't be read; the first: {unreadable[0]}")
        stacked = torch.stack(images) if images else torch.empty(0, dtype=torch.uint8)
        return Batch(stacked, torch.tensor(labels, dtype=torch.long), tuple(unreadable))


def evaluation_loader(
    split: Split, preprocessing: Preprocessing, batch_size: int, workers: int | None
) -> DataLoader[Batch]:
    """Load a split in order, decoded and brought to size, as uint8; `normalize` is left to the device."""

    def resize(images: Tensor) -> Tensor:
        return resize_and_crop(images, preprocessing)

    if isinstance(split, ArraySplit):
        return _loader(_ArrayBatches(split, preprocessing.channels, resize), batch_size, 0)
    files = FileSplit(split.files, split.labels, preprocessing.channels)
    return _loader(_FileBatches(files, _Resize(preprocessing), substitute=False), batch_size, _num_workers(workers))


class _Resize:
    """Bring an image to the described size; a class, so that it can be sent to a worker."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Tensor) -> Tensor:
        return resize_and_crop(image, self.preprocessing)


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
        self.augment_config = augment
        in_files = isinstance(dataset.split("train"), FileSplit)
        self.augment = BatchAugment(augment, preprocessing, cropped=in_files)
        self.mix = Mix(augment, len(dataset.class_names))
        self.unreadable: dict[str, None] = {}  # in the order of their discovery
        self._check_sizes()

    def _check_sizes(self) -> None:
        number = len(self.dataset.split("train"))
        if self.data.drop_last and number < self.data.batch_size:
            raise DataError(
                f"the training set has {number} images, fewer than one batch of {self.data.batch_size}; "
                f"use --set data.batch_size={max(1, number // 2)} or --set data.drop_last=false"
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        split, data = self.dataset.split("train"), self.data
        generator = torch.Generator().manual_seed(self.seed)
        options: dict[str, Any] = {"drop_last": data.drop_last, "generator": generator}
        if data.balanced:
            weights = class_weights(split.labels, len(self.dataset.class_names))[split.labels].tolist()
            options["sampler"] = WeightedRandomSampler(weights, len(split), generator=generator)
        else:
            options["shuffle"] = True
        if isinstance(split, ArraySplit):
            return _loader(_ArrayBatches(split, self.preprocessing.channels, None), data.batch_size, 0, **options)
        files = FileSplit(split.files, split.labels, self.preprocessing.channels)
        batches = _FileBatches(files, RandomCropToSize(self.augment_config, self.preprocessing), substitute=True)
        return _loader(batches, data.batch_size, _num_workers(data.workers), **options)

    def val_dataloader(self) -> DataLoader[Batch]:
        return evaluation_loader(self.dataset.split("val"), self.preprocessing, self.data.batch_size, self.data.workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn a batch on the device into the network's input."""
        self.unreadable.update(dict.fromkeys(batch.unreadable))
        images, labels = batch.images, batch.labels
        if self.trainer is not None and self.trainer.training:
            images, labels = self.mix(self.augment(images), labels)
        else:
            images = normalize(images, self.preprocessing)
        return Batch(images, labels)


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


def take(split: Split, number: int) -> Sequence[Any]:
    """Give the first readable samples of a split, `number` at the most, evenly spread over it."""
    samples = []
    step = max(1, len(split) // number)
    for index in range(0, len(split), step):
        try:
            samples.append(split[index])
        except DataError:
            continue
        if len(samples) == number:
            break
    return samples
