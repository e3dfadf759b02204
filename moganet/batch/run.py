"""`batch`: predictions of any number of images into a folder of Parquet, which go on after any end."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from moganet.batch.inputs import list_inputs, parse_shard, part_of
from moganet.batch.parts import SUCCESS, Parts, named
from moganet.config import Precision
from moganet.data.contents import ImageFile
from moganet.data.within import Within
from moganet.errors import ConfigError, DataError
from moganet.files import typed_path
from moganet.inference.files_seen import stream_of_files
from moganet.inference.load import as_predictor
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.inference.which_boxes import say_whole
from moganet.machine import kept_below
from moganet.notices import noted
from moganet.numbers import count
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result
from moganet.tasks.records import Row
from moganet.tasks.task import Asked

BLOCK, BATCHES = 512, 16  # images and batches of the network that make a block
MEMORY = 600_000_000  # bytes, from which on what is free is given back: large photographs leave much of it
SECONDS = 60.0  # after which one is written though it has fewer: what an end in the middle costs at most


class Batch(Result):
    """A folder of predictions. images: that are named, before: that were done already, done: now, unreadable: of these.

    finished: whether nothing is left to do, of any job.
    """

    out: str
    images: int
    before: int
    done: int
    unreadable: int
    files: int
    finished: bool
    seconds: float
    images_per_second: float | None
    model: str
    sha256: str
    runtime: str
    shard: str | None = None
    first_unreadable: tuple[LeftOut, ...] = ()

    def lines(self) -> Iterator[str]:
        """Say what was done and what is there."""
        rate = "" if self.images_per_second is None else f", {self.images_per_second:.1f} images/s"
        before = f" ({self.before:,} more were done before)" if self.before else ""
        yield f"{count(self.done, 'image')} done{before} into {count(self.files, 'file')} of {self.out}{rate}"
        if self.unreadable:
            first = self.first_unreadable[0]
            yield f"{self.unreadable:,} can't be read, and have their error in the row; the first: {first.reason}"
        yield f"all is done: {self.out}/{SUCCESS}" if self.finished else "other jobs (--shard) are not done yet"


@noted
@threaded
def batch(
    model: str | Path | Predictor,
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    engine: Literal["local"] = "local",
    batch_size: int | None = None,
    shard: str | None = None,
    top_k: int | None = None,
    calibrated: bool = False,
    workers: int | None = None,
    fast_decoding: bool = False,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Batch:
    """Predict any number of images into a folder of Parquet files, a row an image; what was stopped goes on.

    files: images, folders, patterns, archives, videos, lists, Parquet with paths or with images in it, URLs, or
    SOURCE:PATH of files (shards:URL, hub:NAME). out: a new folder, or the one in which the same was begun: images that
    it has are not done again. Rows have what `predict` gives, `model` (the hash of its tensors) and `error`.
    batch_size: images at a time. shard: "I/N" does the I-th of N parts, divided by the hash of the images' names.
    top_k, calibrated, workers, fast_decoding, runtime, precision, device, threads, choices: as in `predict`.
    Raises OutputError for a folder of something else, ConfigError for one of another model or other options.
    """
    if engine != "local":
        raise ConfigError(f"there is no engine {engine!r}; give local")
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    part = parse_shard(shard)
    every, missing = list_inputs(files)
    predictor = as_predictor(model, runtime, precision, device=device, **choices)
    say_whole(predictor, "moganet predict --boxes looks in others")
    sha256 = predictor.config.sha256 or _hash_of(predictor)
    asked = {"top_k": top_k, "calibrated": calibrated, "fast_decoding": fast_decoding, "precision": predictor.precision}
    made_with = {"model": sha256, "runtime": predictor.runtime, **asked, "batch_size": batch_size}
    parts = Parts(typed_path(out), predictor.task, made_with, part)
    own, start = part_of(every, part), time.perf_counter()
    with parts.open() as done:
        left = [file for file in own if named(str(file)) not in done]
        lost = [one for one in missing if named(one.file) not in done] if part[0] == 1 else []
        if left or lost:
            parts.begin()
        blocks = _Blocks(parts, batch_size)
        blocks.add(lost)
        stream = stream_of_files(predictor, left, batch_size=batch_size, workers=workers, fast_decoding=fast_decoding)
        with kept_below(MEMORY):
            for rows in progress(_rows(predictor, stream, left, Asked(top_k, calibrated)), len(stream), "predict"):
                blocks.add(rows)
        blocks.close()
        finished = parts.end()
    seconds = time.perf_counter() - start
    return Batch(
        out=str(out),
        images=len(own),
        before=len(own) - len(left),
        done=blocks.number,
        unreadable=blocks.unreadable,
        files=parts.next,
        finished=finished,
        seconds=seconds,
        images_per_second=blocks.number / seconds if blocks.number else None,
        model=str(predictor.name_of_model),
        sha256=sha256,
        runtime=predictor.runtime,
        first_unreadable=tuple(blocks.first),
        **({} if shard is None else {"shard": shard}),
    )


def _hash_of(predictor: Predictor) -> str:
    from moganet.inference.chosen import hash_of  # which needs torch

    return hash_of(predictor)


def _rows(predictor: Predictor, stream: Any, files: Sequence[ImageFile], asked: Asked) -> Iterator[list[Row | LeftOut]]:
    """Give the rows of each batch, in order, and with them those that could not be read."""
    told = 0
    for seen in stream:
        answers = predictor.answers(seen.outputs, asked)
        rows: list[Row | LeftOut] = [
            _row(predictor, files[place], answer) for place, answer in zip(seen.places, answers, strict=True)
        ]
        rows += stream.unreadable[told:]
        told = len(stream.unreadable)
        yield rows
    yield [*stream.unreadable[told:]]


def _row(predictor: Predictor, file: ImageFile, answer: Any) -> Row:
    row = predictor.task.row(str(file), answer, None, trained=predictor.trained)
    return row.changed(time=file.time) if isinstance(file, Within) and file.time is not None else row


class _Blocks:
    """Rows that come, written a block at a time. number: of all; unreadable: of these; first: a few of them."""

    def __init__(self, parts: Parts, batch_size: int | None) -> None:
        self.parts, self.size = parts, max(BLOCK, BATCHES * (batch_size or 1))
        self.since = time.monotonic()
        self.held: list[Row | LeftOut] = []
        self.first: list[LeftOut] = []
        self.number = self.unreadable = 0

    def add(self, rows: Sequence[Row | LeftOut]) -> None:
        self.held += rows
        lost = [row for row in rows if isinstance(row, LeftOut)]
        self.number, self.unreadable = self.number + len(rows), self.unreadable + len(lost)
        self.first += lost[: 5 - len(self.first)]
        if len(self.held) >= self.size or time.monotonic() - self.since > SECONDS:
            self.close()

    def close(self) -> None:
        if self.held:
            self.parts.write(self.held)
            self.held, self.since = [], time.monotonic()
