"""One stream from images to what a model gives for them: any split, whether its images are files or in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moganet.data import FileSplit, Split
from moganet.data.contents import ImageFile
from moganet.data.loader import Unreadable
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import scaled
from moganet.data.targets import NoTargets
from moganet.errors import DataError
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Outputs
from moganet.machine import keep_freed_memory

BATCHES = {"cuda": 128}  # images at a time; on a CPU small ones, so that decoding and network overlap
BATCH = 32


@dataclass(frozen=True)
class Seen:
    """A batch that a model has seen: where its images stand in the split, what it gave, and their targets."""

    places: tuple[int, ...]
    outputs: Outputs
    targets: Any


class Stream:
    """What a model gives for the readable images of a split, in order, a batch at a time; nothing is kept.

    batch_size: images at a time; None is what suits the device. workers: processes that read files; None is one a core.
    judged: as in Predictor.outputs.
    unreadable: what could not be read of the batches so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        split: Split,
        batch_size: int | None = None,
        workers: int | None = None,
        *,
        judged: bool = False,
    ) -> None:
        self.predictor, self.split, self.judged = predictor, split, judged
        preprocessing = predictor.config.preprocessing
        size = batch_size or BATCHES.get(predictor.device.type, BATCH)
        self.loader = evaluation_loader(split, preprocessing, size, workers)
        self.unreadable: list[Unreadable] = []
        self.num_seen = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Seen]:
        if self.predictor.device.type == "cpu":
            keep_freed_memory()
        for batch in self.loader:
            self.unreadable += batch.unreadable
            if len(batch.images):
                self.num_seen += len(batch.images)
                images = scaled(batch.images.numpy(), self.predictor.config.preprocessing)
                yield Seen(batch.places, self.predictor.outputs(images, judged=self.judged), batch.targets)

    def check(self, where: str) -> None:
        """Raise DataError where the stream has ended and not one image could be read."""
        if not self.num_seen:
            reason = self.unreadable[0].reason if self.unreadable else "it has none"
            raise DataError(f"none of the {len(self.split)} images of {where} can be read: {reason}")


def split_of_files(files: Sequence[ImageFile], white_level: float | None) -> FileSplit:
    """Make a split of files of which nothing else is known."""
    return FileSplit(files, NoTargets(len(files)), white_level=white_level)
