"""`batch`: predictions of any number of images into a folder of Parquet, which go on after any end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from moganet.batch import by_ray
from moganet.batch.boxes import Boxes, FileBoxes
from moganet.batch.inputs import list_inputs, parse_shard, part_of
from moganet.batch.parts import SUCCESS, Parts, named
from moganet.batch.ray_worker import Done, Job
from moganet.batch.rows import FIRST, MEMORY, SECONDS, Asking, Rows
from moganet.config import Precision
from moganet.errors import ConfigError, DataError, choose_of
from moganet.files import typed_path
from moganet.inference.load import as_predictor
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import LazyRun, Runtime
from moganet.machine import kept_below
from moganet.notices import noted
from moganet.numbers import count
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result
from moganet.tasks.records import Row
from moganet.tasks.task import Asked

Engine = Literal["local", "ray"]
BLOCK, BATCHES = 512, 16  # images and batches of the network that make a block


class Batch(Result):
    """A folder of predictions. images: that are named, before: that were done already, done: now, unreadable: of these.

    finished: whether nothing is left to do, of any job. start_seconds: that Ray took to start; images a second are of
    the time in which its workers answered.
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
    engine: str
    start_seconds: float | None = None
    shard: str | None = None
    first_unreadable: tuple[LeftOut, ...] = ()

    def lines(self) -> Iterator[str]:
        """Say what was done and what is there."""
        rate = "" if self.images_per_second is None else f", {self.images_per_second:.1f} images/s"
        rate += "" if self.start_seconds is None else f" once Ray had started ({self.start_seconds:.1f} s)"
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
    engine: Engine = "local",
    address: str | None = None,
    batch_size: int | None = None,
    shard: str | None = None,
    boxes: Boxes = None,
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
    engine: "local" answers in this process; "ray" by workers of Ray Data, at an `address` (HOST:PORT, ray://HOST:PORT,
    "auto") or on this machine, for which model and images are named by what all machines see. Either goes on with what
    the other began.
    batch_size: images at a time. shard: "I/N" does the I-th of N parts, divided by the hash of the images' names.
    boxes: of a model of key points, in which boxes they are looked for: a file of boxes, a detector, or "whole".
    workers: processes that read; of Ray, that answer, each with one of `threads` [as many as the machine or the
    cluster has room for, with one thread each].
    top_k, calibrated, fast_decoding, runtime, precision, device, threads, choices: as in `predict`.
    Raises OutputError for a folder of something else, ConfigError for one of another model or other options.
    """
    _check(engine, address, workers, top_k)
    part = parse_shard(shard)
    every, missing = list_inputs(files)
    how = Asking(Asked(top_k, calibrated), batch_size, workers, fast_decoding)
    given = _Given(model, boxes, choices, how, threads, address)
    if engine == "ray":
        given.check_named()
    predictor = as_predictor(model, runtime, precision, device=device, **choices)
    if isinstance(predictor.run, LazyRun):  # it may give way to another runtime, which is then told
        predictor.run.opened()
    found = FileBoxes.of(predictor, boxes, every)
    asked = {"top_k": top_k, "calibrated": calibrated, "fast_decoding": fast_decoding, "precision": predictor.precision}
    asked |= {"batch_size": batch_size, "boxes": found.identity}
    sha256 = predictor.sha256
    made_with = {"model": sha256, "runtime": predictor.runtime, **asked}
    parts = Parts(typed_path(out), predictor.task, made_with, part)
    own, start = part_of(every, part), time.perf_counter()
    with parts.open() as done:
        left = [file for file in own if named(str(file)) not in done]
        lost = [one for one in missing if named(one.file) not in done] if part[0] == 1 else []
        if left or lost:
            parts.begin()
        blocks = _Blocks(parts, batch_size)
        blocks.add(lost)
        if engine == "ray" and left:
            job, pool = given.job(predictor, parts, found), given.pool(predictor, blocks.size)
            with closing(by_ray.answer_by_ray(job, left, found, pool, progress)) as ended:
                for one in ended:
                    blocks.take(one)
        else:
            rows = Rows(predictor, left, how, found.of_files(left))
            with kept_below(MEMORY):
                for some in progress(rows, len(rows), "predict"):
                    blocks.add(some)
        blocks.close()
        finished = parts.end()
    end = time.perf_counter()
    return Batch(
        out=str(out),
        images=len(own),
        before=len(own) - len(left),
        done=blocks.number,
        unreadable=blocks.unreadable,
        files=parts.next,
        finished=finished,
        seconds=end - start,
        images_per_second=blocks.rate(start, end),
        model=str(predictor.name_of_model),
        sha256=sha256,
        runtime=predictor.runtime,
        engine=engine,
        first_unreadable=tuple(blocks.first),
        **({} if blocks.begun is None else {"start_seconds": max(0.0, blocks.begun - start)}),
        **({} if shard is None else {"shard": shard}),
    )


def _check(engine: str, address: str | None, workers: int | None, top_k: int | None) -> None:
    if engine not in get_args(Engine):
        raise ConfigError(f"there is no engine {engine!r}; {choose_of(engine, get_args(Engine))}")
    if address is not None and engine != "ray":
        raise ConfigError(f"--address {address} is of a cluster of Ray; give --engine ray with it")
    if engine == "ray" and workers == 0:
        raise ConfigError("workers is 0; Ray answers by at least 1, and by one a core where nothing is said")
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")


@dataclass(frozen=True)
class _Given:
    """What a person gave by which another process does the same."""

    model: str | Path | Predictor
    boxes: Boxes
    choices: dict[str, Any]
    how: Asking
    threads: int | None
    address: str | None

    def check_named(self) -> None:
        """Raise ConfigError where it is no names, which alone reach other processes."""
        for what, one in {"model": self.model, "detector": self.boxes}.items():
            if isinstance(one, Predictor):
                raise ConfigError(f"Ray's workers load the {what} themselves: give its name or file, not a Predictor")

    def job(self, predictor: Predictor, parts: Parts, boxes: FileBoxes) -> Job:
        """Give what a worker of Ray's is told."""
        on_gpus = predictor.device.type == "cuda"
        loading = {"runtime": predictor.runtime, "precision": predictor.precision, "device": predictor.device.type}
        return Job(
            model=str(self.model),
            loading={**loading, "threads": None if on_gpus else self.threads or 1, **self.choices},
            how=replace(self.how, workers=None),
            boxes=str(self.boxes) if boxes.detected is not None else None,
            out=parts.out.absolute(),
            folder=Path.cwd(),
            made_with=parts.made_with,
            shard=parts.shard,
        )

    def pool(self, predictor: Predictor, most: int) -> by_ray.Pool:
        """Give the workers that are wanted. most: images of a block."""
        return by_ray.Pool(self.address, self.how.workers, self.threads or 1, most, predictor.device.type == "cuda")


class _Blocks:
    """Rows that come, written a block at a time. number: of all; unreadable: of these; first: a few of them."""

    def __init__(self, parts: Parts, batch_size: int | None) -> None:
        self.parts, self.size = parts, max(BLOCK, BATCHES * (batch_size or 1))
        self.since = time.monotonic()
        self.held: list[Row | LeftOut] = []
        self.first: list[LeftOut] = []
        self.number = self.unreadable = 0
        self.begun: float | None = None  # when others began, and ended, with blocks
        self.ended = 0.0

    def add(self, rows: Sequence[Row | LeftOut]) -> None:
        self.held += rows
        lost = [row for row in rows if isinstance(row, LeftOut)]
        self.number, self.unreadable = self.number + len(rows), self.unreadable + len(lost)
        self.first += lost[: FIRST - len(self.first)]
        if len(self.held) >= self.size or time.monotonic() - self.since > SECONDS:
            self.close()

    def take(self, done: Done) -> None:
        """Take a block that another process wrote."""
        self.parts.take(done.draft)
        self.number, self.unreadable = self.number + done.number, self.unreadable + done.unreadable
        self.first += done.first[: FIRST - len(self.first)]
        self.ended = time.perf_counter()
        begun = self.ended - done.seconds
        self.begun = begun if self.begun is None else min(self.begun, begun)

    def rate(self, start: float, end: float) -> float | None:
        """Give the images a second, between the times of others where they did it; None where nothing was done."""
        seconds = end - start if self.begun is None else self.ended - self.begun
        return self.number / seconds if self.number else None

    def close(self) -> None:
        if self.held:
            self.parts.write(self.held)
            self.held, self.since = [], time.monotonic()
