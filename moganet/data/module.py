"""Batches for training and evaluation: sliced from memory or decoded by workers; augmented on the device from uint8."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.nn import functional as F

from moganet.config import AugmentConfig, DataConfig, Preprocessing
from moganet.data.augment import BatchAugment, Mix, Turns, worker_transform
from moganet.data.augment_boxes import ObjectTransform
from moganet.data.augment_people import crop_of_box
from moganet.data.item_split import ItemSplit
from moganet.data.loader import Batch, Loader, Unreadable, num_workers
from moganet.data.order import ALONE, Division, Draw, EpochOrder, EvenBatches, ShardOrder, StepParts
from moganet.data.preprocess import Transform, normalize, resize_and_crop
from moganet.data.shards_read import layout
from moganet.data.source import ArraySplit, FileSplit, Sample, Split
from moganet.data.source import Dataset as ImageDataset
from moganet.errors import ConfigError, DataError
from moganet.notices import listening
from moganet.numbers import spread

logger = logging.getLogger(__name__)
MAX_UNREADABLE_IN_A_ROW = 100
MULTIPLE = 32  # pixels: of the sides of images that are filled up to one size, as mmdetection does it


class _ArrayBatches:
    def __init__(self, split: ArraySplit, transform: Callable[[Tensor], Tensor] | None) -> None:
        self.split, self.transform = split, transform

    def read(self, places: Sequence[int | Draw]) -> Batch:
        indices = [place.image if isinstance(place, Draw) else place for place in places]
        images = self.split.images[indices]
        images = self.transform(images) if self.transform and indices else images
        targets, (seed, epoch) = self.split.targets.batch(indices), _drawn(places)
        return Batch(images, targets, places=tuple(indices), seed=seed, epoch=epoch)


class _ImageBatches:
    """A split read image by image. What can't be read is named, and with `substitute` replaced by what follows it."""

    def __init__(self, split: Split, transform: Transform, *, substitute: bool) -> None:
        self.split, self.transform, self.substitute = split, transform, substitute

    def read(self, places: Sequence[int | Draw]) -> Batch:
        with listening() as heard:
            known = len(heard)
            return self._read(places)._replace(notes=tuple(heard[known:]))

    @isolate_rng(include_cuda=False)  # a worker must not touch the GPU
    def _read(self, places: Sequence[int | Draw]) -> Batch:
        taken: list[Any] = []  # (image, target, position)
        unreadable: list[Unreadable] = []
        for place in places:
            index = place.image if isinstance(place, Draw) else place
            # What is drawn for an image depends on nothing before it; in evaluation a caller's own code may draw.
            # torch.manual_seed would seed the GPU too, for which it keeps a traceback: half a millisecond an image.
            for seed in (torch.default_generator.manual_seed, np.random.seed, random.seed):
                seed(place.seed if isinstance(place, Draw) else index)
            for attempt in range(min(MAX_UNREADABLE_IN_A_ROW, len(self.split)) if self.substitute else 1):
                position = (index + attempt) % len(self.split)
                try:
                    taken.append((*self._transformed(self.split[position]), position))
                    break
                except DataError as error:
                    unreadable.append(Unreadable(self.split.name_of(position), str(error)))
        images, targets, found = ([one[part] for one in taken] for part in range(3))
        if not images and self.substitute:
            number = len({one.file for one in unreadable})  # not the attempts: small sets come round again
            what = f"{number} of {len(self.split)} images were tried, and none can be read"
            raise DataError(f"{what}: {unreadable[0].reason}")
        told, sizes = self.split.targets.stack(targets), tuple[tuple[int, int], ...]()
        if self.substitute and self.split.targets.may_differ:
            images, sizes = filled_up(images)
        stacked = torch.stack(images) if images else torch.empty(0, dtype=torch.uint8)
        drawn, epoch = _drawn(places)
        return Batch(stacked, told, tuple(unreadable), tuple(found), drawn, sizes, epoch=epoch)

    def _transformed(self, sample: Sample) -> tuple[Tensor, Any]:
        try:
            return self.transform(sample.image, sample.target)
        except DataError as error:
            raise DataError(f"{sample.name}: {error}") from None


def _check_turns(augment: AugmentConfig, *, placed: bool) -> None:
    wrong = "what is marked in images" if placed else "augment.auto_augment" if augment.auto_augment else ""
    if wrong:
        raise ConfigError(f"augment.hflip_by_turns mirrors images alone, and does not go with {wrong}; leave it out")
    if augment.hflip != 0.5:
        what = f"augment.hflip_by_turns mirrors in every second epoch, and augment.hflip is {augment.hflip:g}"
        raise ConfigError(f"{what}; set augment.hflip=0.5")


def filled_up(images: Sequence[Tensor]) -> tuple[list[Tensor], tuple[tuple[int, int], ...]]:
    """Fill images (C, H, W) up with zeros, right and below, to one size whose sides a pyramid of maps divides.

    Gives their own sizes, height and width, too.
    """
    sizes = tuple((image.shape[-2], image.shape[-1]) for image in images)
    height, width = (-(-max(sides) // MULTIPLE) * MULTIPLE for sides in zip(*sizes, strict=True))
    filled = [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in images]
    return filled, sizes


def blanked(images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Make normalised images (B, C, H, W) zero, in place, beyond their own sizes."""
    for image, (height, width) in zip(images, sizes, strict=bool(sizes)):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images


def _drawn(places: Sequence[int | Draw]) -> tuple[int | None, int]:
    """Give a batch's seed, where it is drawn, and its epoch."""
    return (places[0].seed, places[0].epoch) if places and isinstance(places[0], Draw) else (None, 0)


def _workers(split: Split, asked: int | None, beside: int = 1) -> int:
    """Give the processes that read a split: as asked, else a caller's own as it was opened, of files one a core."""
    return split.items.workers if asked is None and isinstance(split, ItemSplit) else num_workers(asked, beside)


def evaluation_loader(
    split: Split, preprocessing: Preprocessing, batch_size: int, workers: int | None, division: Division = ALONE
) -> Loader:
    """Load a split in order, decoded and brought to size, as uint8; `normalize` is left to the device.

    Targets stay as they are: what a network says is brought to an image's own size, and measured there. Images that
    differ in size come one by one.
    """
    split = split.with_channels(preprocessing.channels)
    batch_size = batch_size if preprocessing.one_size else 1
    batches = EvenBatches(len(split), batch_size, division)
    if isinstance(split, ArraySplit):
        return Loader(_ArrayBatches(split, partial(resize_and_crop, preprocessing=preprocessing)), batches, 0)
    to_size = partial(_image_to_size, preprocessing=preprocessing)
    return Loader(_ImageBatches(split, to_size, substitute=False), batches, _workers(split, workers))


def _image_to_size(image: Tensor, target: Any, preprocessing: Preprocessing) -> tuple[Tensor, Any]:
    if preprocessing.crop_mode == "box" and target is not None:
        return crop_of_box(image, target, preprocessing)
    return resize_and_crop(image, preprocessing), target


class ImageDataModule(pl.LightningDataModule):
    """A run's batches: shuffled and augmented for training, in order and plain for validation.

    accumulate, processes: in how many parts a step of the optimizer goes through the network, and on how many
    processes; data.batch_size images are one part. pins: whether they go to a GPU. `position`: the epoch, and how many
    of its steps are done. `beside`: how many of the processes are on this machine.
    """

    beside = 1

    def __init__(
        self,
        dataset: ImageDataset,
        data: DataConfig,
        preprocessing: Preprocessing,
        augment: AugmentConfig,
        seed: int,
        *,
        accumulate: int = 1,
        processes: int = 1,
        pins: bool = False,
    ) -> None:
        super().__init__()
        self.pins = pins
        self.accumulate, self.processes, self.position = accumulate, processes, (0, 0)
        self.dataset, self.data, self.preprocessing, self.seed = dataset, data, preprocessing, seed
        self.batch_size = data.batch_size  # an attribute of its own, since Lightning's finder sets it
        train = dataset.split("train")
        placed = train.targets.have_places
        for name in ("mosaic", "short_side"):
            if getattr(augment, name) and not train.targets.may_differ:
                raise ConfigError(f"augment.{name} is for images in which boxes are marked; leave it out")
        by_policy = augment.auto_augment is not None or augment.crop == "scaled" or augment.distort > 0
        one_by_one = placed or by_policy or not train.in_memory
        self.worker_transform = self._transform(train, augment) if one_by_one else None
        self.augment = BatchAugment(augment, preprocessing, cropped=one_by_one, placed=placed)
        if augment.hflip_by_turns:
            _check_turns(augment, placed=placed)
        self.turns = Turns(len(train), seed) if augment.hflip_by_turns else None
        self.mix = Mix(augment, len(dataset.class_names))
        self._loaders: list[Loader] = []
        self.unreadable: dict[Unreadable, None] = {}  # in the order of their discovery
        self._check_sizes()

    def _transform(self, train: Split, augment: AugmentConfig) -> Transform:
        if train.targets.may_differ:
            others = train.with_channels(self.preprocessing.channels) if augment.mosaic else None
            return ObjectTransform(augment, self.preprocessing, others)
        return worker_transform(augment, self.preprocessing, placed=train.targets.have_places)

    def _check_sizes(self) -> None:
        number, size, parts = len(self.dataset.split("train")), self.data.batch_size, self.accumulate * self.processes
        rest = number % (size * parts)
        if size < 2:
            raise DataError("data.batch_size is 1, and batch norm can't learn from one image; use at least 2")
        if self.data.drop_last and number < size * parts:
            of = f"one batch of {size}" if parts == 1 else f"one step of {parts} batches of {size}"
            how = f"use --set data.batch_size={max(2, number // (2 * parts))}"
            raise DataError(f"the training set has {number} images, fewer than {of}; {how}")
        if not self.data.drop_last and 0 < rest < 2 * parts:
            what = f"the last step would have {rest} of {number} images, and batch norm can't learn from a single one"
            how = f"use --set data.drop_last=true or --set data.batch_size={size + 1}"
            raise DataError(f"{what} in each of {parts} parts; {how}")

    @property
    def division(self) -> Division:  # this process's share of each step
        rank = self.trainer.global_rank if self.trainer is not None else 0
        return Division(self.accumulate, self.processes, rank)

    def train_dataloader(self) -> Loader:
        split, data = self.dataset.split("train").with_channels(self.preprocessing.channels), self.data
        order, step_size = self._order(split), self.batch_size * self.division.parts
        if data.by_shape:
            if (lying := split.targets.lying()) is None:
                raise ConfigError("data.by_shape is for images in which boxes are marked; leave it out")
            order = order.apart(torch.from_numpy(lying), step_size)
        parts = StepParts(order, step_size, self.division, drop_last=data.drop_last, start=self.position)
        if self.worker_transform is None:
            assert isinstance(split, ArraySplit)
            return self._kept(Loader(_ArrayBatches(split, None), parts, 0))
        batches = _ImageBatches(split, self.worker_transform, substitute=True)
        return self._kept(Loader(batches, parts, _workers(split, data.workers, self.beside)))

    def _order(self, split: Split) -> EpochOrder:
        if isinstance(split, FileSplit) and split.buffer:
            if wrong := [name for name in ("balanced", "by_shape") if getattr(self.data, name)]:
                what = f"data.{wrong[0]} draws from all images, and order=shards does not"
                raise DataError(f"{what}; leave one of them out")
            return ShardOrder(*layout(split.files), split.buffer, self.seed)
        weights = split.targets.weights(len(self.dataset.class_names)) if self.data.balanced else None
        return EpochOrder(len(split), self.seed, weights)

    def val_dataloader(self) -> Loader:
        split = self.dataset.split("val")
        workers = _workers(split, self.data.workers, self.beside)
        return self._kept(evaluation_loader(split, self.preprocessing, self.batch_size, workers, self.division))

    def _kept(self, loader: Loader) -> Loader:
        loader.pins = self.pins
        self._loaders.append(loader)
        return loader

    def teardown(self, stage: str) -> None:
        """End the processes that read images, whatever still refers to them."""
        for loader in self._loaders:
            loader.end()
        self._loaders = []

    def on_exception(self, exception: BaseException) -> None:
        self.teardown("fit")

    def state_dict(self) -> dict[str, Any]:
        epoch, step = self.position
        unreadable = [tuple(one) for one in self.unreadable]
        return {"epoch": epoch, "step": step, "accumulate": self.accumulate, "unreadable": unreadable}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = state_dict["epoch"], state_dict["step"]
        self.unreadable = {Unreadable(*one): None for one in state_dict["unreadable"]}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        for one in batch.unreadable:
            if one not in self.unreadable:
                logger.warning("left out: %s", one.reason)
            self.unreadable[one] = None
        if self.trainer is not None and self.trainer.training:
            return self.augmented(batch)
        return Batch(normalize(batch.images, self.preprocessing), batch.targets)

    def augmented(self, batch: Batch) -> Batch:
        """Augment and mix a batch of training images."""
        if batch.seed is not None:
            torch.manual_seed(batch.seed)
        images = self.turns(batch.images, batch.places, batch.epoch) if self.turns else batch.images
        images, targets = self.mix(self.augment(images), batch.targets)
        return Batch(blanked(images, batch.sizes), targets, sizes=batch.sizes)


def check_readable(split: Split, name: str, number: int = 16) -> None:
    """Raise DataError where none of up to `number` images of a split, evenly spread over it, can be read."""
    reasons = []
    for found in _tried(split, number):
        if isinstance(found, Sample):
            return
        reasons.append(found)
    if reasons:
        what = f"of the {len(split):,} images of {name} {len(reasons)} were tried, and none can be read"
        raise DataError(f"{what}; the first: {reasons[0]}")


def take(split: Split, number: int) -> list[Sample]:
    """Give readable samples of a split, `number` at the most, evenly spread over it."""
    return [found for found in _tried(split, number) if isinstance(found, Sample)]


def _tried(split: Split, number: int) -> Iterator[Sample | DataError]:
    for index in spread(len(split), number):
        try:
            yield split[index]
        except DataError as error:
            yield error
