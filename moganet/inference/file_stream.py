"""One stream from files to what a model gives for them, read ahead by threads of this process; without torch."""

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.data.contents import ImageFile
from moganet.data.read import read_pixels
from moganet.data.resample import normalize, resize_and_crop
from moganet.data.waiting import limit_of_waiting, wait_for
from moganet.errors import ConfigError, DataError
from moganet.inference.given_images import GivenImages
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Outputs
from moganet.machine import keep_freed_memory
from moganet.processors import num_helpers
from moganet.results import LeftOut

BATCH = 32  # images at a time on a CPU: small ones, so that decoding and network overlap
AHEAD = 2  # batches that are read before they are needed
Pixels = NDArray[np.uint8]


BoxesOf = Callable[[int, Pixels], NDArray[np.floating[Any]] | None]  # of an image by its place, and as it is


def no_boxes(place: int, pixels: Pixels) -> None:
    """Ask about the whole of each image."""


@dataclass(frozen=True)
class Seen:
    """A batch that a model has seen: where its images stand in the split, what it gave, and their targets."""

    places: tuple[int, ...]
    outputs: Outputs
    targets: Any


class FileStream:
    """What a model gives for the readable ones of some files, in order, a batch at a time; nothing is kept.

    Pillow decodes and resizes beside Python's lock, so that threads do, and no process has to be started.
    files: or images that a caller has, as they come. threads: that read; 0 reads here, None is one a core.
    fast_decoding: JPEGs of more than four times the pixels that are needed are decoded at a fraction of their size
    (half a grey level off in the mean). judged: as in Predictor.outputs. boxes_of: gives those of an image by its
    place, and uint8 (C, H, W), as in `TaskByImage.see`. unreadable: what could not be read of the batches so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        files: Sequence[ImageFile] | GivenImages,
        batch_size: int | None = None,
        threads: int | None = None,
        *,
        fast_decoding: bool = False,
        judged: bool = False,
        boxes_of: BoxesOf = no_boxes,
    ) -> None:
        self.by_image = predictor.task.by_image
        check_fast_decoding(predictor, asked=fast_decoding)
        self.size = 1 if self.by_image else batch_size or BATCH
        self.predictor, self.files, self.judged, self.boxes_of = predictor, files, judged, boxes_of
        self.number = files.number if isinstance(files, GivenImages) else len(files)
        asked = num_readers(predictor) if threads is None else threads
        self.threads = asked if self.number is None else min(asked, self.number)
        own = predictor.config.preprocessing
        self.at_least = int(2 * max(own.size) / own.crop_fraction) if fast_decoding else None
        self.unreadable: list[LeftOut] = []

    def __len__(self) -> int:
        return -(-(self.number or 0) // self.size)

    def __iter__(self) -> Iterator[Seen]:
        keep_freed_memory()
        read: Iterator[Pixels | LeftOut] = map(self._read, enumerate(self.files))
        if self.threads > 1:
            read = read_ahead(self._read, enumerate(self.files), self.threads, self.size * AHEAD)
        places = count()
        while batch := list(islice(zip(places, read, strict=False), self.size)):
            good = [(place, pixels) for place, pixels in batch if not isinstance(pixels, LeftOut)]
            self.unreadable += [one for _, one in batch if isinstance(one, LeftOut)]
            if good and self.by_image:
                (place, pixels) = good[0]
                yield Seen((place,), self.predictor.see(pixels, self.boxes_of(place, pixels)), None)
            elif good:
                images = normalize(np.stack([pixels for _, pixels in good]), self.predictor.config.preprocessing)
                yield Seen(tuple(place for place, _ in good), self.predictor.outputs(images, judged=self.judged), None)

    def _read(self, numbered: tuple[int, Any]) -> Pixels | LeftOut:
        (place, file), own = numbered, self.predictor.config.preprocessing
        try:
            pixels = read_pixels(file, own.channels, own.white_level, at_least=self.at_least)
            return pixels if self.by_image else resize_and_crop(pixels, own)
        except DataError as error:
            named = self.files.name_of(place) if isinstance(self.files, GivenImages) else str(file)
            return LeftOut(file=named, reason=str(error))


def check_fast_decoding(predictor: Predictor, *, asked: bool) -> None:
    """Raise ConfigError where fast decoding is asked for, and a model's answers are of the size of its images."""
    if asked and predictor.task.by_image:
        raise ConfigError(
            "fast decoding makes images smaller, and what is answered for places in them: leave --fast-decoding away"
        )


def num_readers(predictor: Predictor) -> int:
    """Give the threads that read for a model where nobody says how many: as many as compute, or one a core."""
    return predictor.threads or num_helpers()


def read_ahead(read: Callable[[Any], Any], items: Iterable[Any], threads: int, ahead: int) -> Iterator[Any]:
    """Give what `read` gives for each item, in order, computed by threads up to `ahead` items before it is needed.

    What is said there is heard here. Raises WorkerError where nothing comes for as long as MOGANET_WAIT says.
    """
    limit, tasks = limit_of_waiting(), queue.SimpleQueue[_Task | None]()
    for _ in range(threads):  # which hold up no end of the process, whatever they wait for
        threading.Thread(target=_work, args=(read, tasks), daemon=True).start()

    def ask(item: Any) -> "Future[Any]":
        answer: Future[Any] = Future()
        tasks.put((contextvars.copy_context(), item, answer))
        return answer

    coming = iter(items)
    waiting = deque(map(ask, islice(coming, ahead)))
    try:
        while waiting:
            found = wait_for(waiting.popleft(), limit, "threads", "--workers 0 reads without them")
            waiting.extend(map(ask, islice(coming, 1)))
            yield found
    finally:
        for answer in waiting:
            answer.cancel()
        for _ in range(threads):
            tasks.put(None)


_Task = tuple[contextvars.Context, Any, "Future[Any]"]


def _work(read: Callable[[Any], Any], tasks: "queue.SimpleQueue[_Task | None]") -> None:
    while (task := tasks.get()) is not None:
        context, item, answer = task
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(context.run(read, item))
            except BaseException as error:  # it is for whoever waits
                answer.set_exception(error)
