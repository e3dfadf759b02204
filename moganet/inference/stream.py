"""One stream from images to what a model gives for them: any split, whether its images are files or in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from moganet.data import FileSplit, Sample, Split
from moganet.data.contents import ImageFile
from moganet.data.module import evaluation_loader
from moganet.data.resample import normalize
from moganet.data.targets import NoTargets
from moganet.errors import ConfigError, DataError
from moganet.inference.file_stream import (
    AHEAD,
    BATCH,
    BoxesOf,
    FileStream,
    Seen,
    check_fast_decoding,
    num_readers,
    read_ahead,
)
from moganet.inference.predictor import Predictor
from moganet.machine import keep_freed_memory
from moganet.results import LeftOut

BATCHES = {"cuda": 128}  # images at a time; else BATCH


class Stream:
    """What a model gives for the readable images of a split, in order, a batch at a time; nothing is kept.

    batch_size: images at a time; None is what suits the device. workers: processes that read files; None is threads of
    this process on a CPU, and a process a core where they feed a GPU. fast_decoding: as in FileStream, by threads.
    judged: as in Predictor.outputs. boxes_of: as in FileStream; None is what the split's targets say.
    unreadable: what could not be read of the batches so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        split: Split,
        batch_size: int | None = None,
        workers: int | None = None,
        *,
        fast_decoding: bool = False,
        judged: bool = False,
        boxes_of: BoxesOf | None = None,
    ) -> None:
        self.predictor, self.split, self.workers, self.judged = predictor, split, workers, judged
        self.batch_size = batch_size or BATCHES.get(predictor.device.type, BATCH)
        self.fast_decoding = fast_decoding
        self.boxes_of: BoxesOf = boxes_of or (lambda place, pixels: split.targets.boxes(place))
        if fast_decoding and (workers or predictor.device.type != "cpu"):
            raise ConfigError("fast decoding is for threads on a CPU: leave --workers away")
        check_fast_decoding(predictor, asked=fast_decoding)
        self.unreadable: list[LeftOut] = []
        self.num_seen = 0

    def __len__(self) -> int:
        return len(self.split) if self.predictor.task.by_image else -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[Seen]:
        on_cpu, split = self.predictor.device.type == "cpu", self.split
        by_threads = on_cpu and self.workers in (None, 0) and isinstance(split, FileSplit)
        if self.predictor.task.by_image:
            seen = self._of_images()
        elif by_threads and not split.targets.have_places:
            seen = self._of_files(split)
        else:
            seen = self._of_batches()
        for one in seen:
            self.num_seen += len(one.places)
            yield one

    def _of_files(self, split: Any) -> Iterator[Seen]:
        how: dict[str, Any] = {"fast_decoding": self.fast_decoding, "judged": self.judged}
        stream = FileStream(self.predictor, split.files, self.batch_size, self.workers, **how)
        self.unreadable = stream.unreadable  # which grows as it goes
        for seen in stream:
            yield replace(seen, targets=split.targets.batch(seen.places))

    def _of_images(self) -> Iterator[Seen]:
        """Give one image at a time, in its own size, read ahead by threads."""
        split = self.split.with_channels(self.predictor.config.preprocessing.channels)
        threads = num_readers(self.predictor) if self.workers is None else self.workers
        places = range(len(split))

        def read(place: int) -> Sample | LeftOut:
            try:
                return split[place]
            except DataError as error:
                return LeftOut(file=split.name_of(place), reason=str(error))

        read_in_order = read_ahead(read, places, threads, AHEAD * threads) if threads > 1 else map(read, places)
        for place, found in zip(places, read_in_order, strict=True):
            if isinstance(found, LeftOut):
                self.unreadable.append(found)
            else:
                targets = split.targets.stack([found.target])
                pixels = found.image.numpy()
                yield Seen((place,), self.predictor.see(pixels, self.boxes_of(place, pixels)), targets)

    def _of_batches(self) -> Iterator[Seen]:
        preprocessing = self.predictor.config.preprocessing
        if self.predictor.device.type == "cpu":
            keep_freed_memory()
        for batch in evaluation_loader(self.split, preprocessing, self.batch_size, self.workers):
            self.unreadable += (LeftOut(**one._asdict()) for one in batch.unreadable)
            if len(batch.images):
                images = normalize(batch.images.numpy(), preprocessing)
                yield Seen(batch.places, self.predictor.outputs(images, judged=self.judged), batch.targets)

    def check(self, where: str) -> None:
        """Raise DataError where the stream has ended and not one image could be read."""
        if not self.num_seen:
            reason = self.unreadable[0].reason if self.unreadable else "it has none"
            raise DataError(f"none of the {len(self.split)} images of {where} can be read: {reason}")


def split_of_files(files: Sequence[ImageFile], white_level: float | None) -> FileSplit:
    """Make a split of files of which nothing else is known."""
    return FileSplit(files, NoTargets(len(files)), white_level=white_level)
