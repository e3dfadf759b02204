"""One stream from images to what a model gives for them: any split, whether its images are files or in memory."""

from collections.abc import Iterator, Sequence

from moganet.data import FileSplit, Split
from moganet.data.contents import ImageFile
from moganet.data.module import evaluation_loader
from moganet.data.resample import normalize
from moganet.data.targets import NoTargets
from moganet.errors import DataError
from moganet.inference.file_stream import BATCH, Seen
from moganet.inference.predictor import Predictor
from moganet.machine import keep_freed_memory
from moganet.results import LeftOut

BATCHES = {"cuda": 128}  # images at a time; else BATCH


class Stream:
    """What a model gives for the readable images of a split, in order, a batch at a time; nothing is kept.

    batch_size: images at a time; None is what suits the device. workers: processes that read files; None is one a core.
    unreadable: what could not be read of the batches so far.
    """

    def __init__(
        self, predictor: Predictor, split: Split, batch_size: int | None = None, workers: int | None = None
    ) -> None:
        self.predictor, self.split = predictor, split
        preprocessing = predictor.config.preprocessing
        size = batch_size or BATCHES.get(predictor.device.type, BATCH)
        self.loader = evaluation_loader(split, preprocessing, size, workers)
        self.unreadable: list[LeftOut] = []
        self.num_seen = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Seen]:
        if self.predictor.device.type == "cpu":
            keep_freed_memory()
        for batch in self.loader:
            self.unreadable += (LeftOut(**one._asdict()) for one in batch.unreadable)
            if len(batch.images):
                self.num_seen += len(batch.images)
                images = normalize(batch.images.numpy(), self.predictor.config.preprocessing)
                yield Seen(batch.places, self.predictor.outputs(images), batch.targets)

    def check(self, where: str) -> None:
        """Raise DataError where the stream has ended and not one image could be read."""
        if not self.num_seen:
            reason = self.unreadable[0].reason if self.unreadable else "it has none"
            raise DataError(f"none of the {len(self.split)} images of {where} can be read: {reason}")


def split_of_files(files: Sequence[ImageFile], white_level: float | None) -> FileSplit:
    """Make a split of files of which nothing else is known."""
    return FileSplit(files, NoTargets(len(files)), white_level=white_level)
