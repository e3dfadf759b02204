"""One of Ray's workers: it loads the model, answers for a block of files at a time, and writes a draft of each.

What goes to it and comes from it is small: names, and what was counted. Images and rows go by way of files alone, since
Ray holds what passes through it several times over.
"""

import os
import pickle
import platform
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moganet.batch.boxes import FileBoxes
from moganet.batch.parts import Parts
from moganet.batch.rows import FIRST, MEMORY, SECONDS, Asking, Rows
from moganet.data.contents import ImageFile
from moganet.errors import ConfigError, MogaNetError, OutputError
from moganet.inference.load import load
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array
from moganet.machine import kept_below
from moganet.notices import recording
from moganet.results import LeftOut
from moganet.tasks.records import Row


@dataclass(frozen=True)
class Job:
    """All that a worker is told. loading: what `load` is given beside the model, resolved. boxes: a detector's name.

    folder: in which relative names begin. made_with, shard: as in `Parts`.
    """

    model: str
    loading: dict[str, Any]
    how: Asking
    boxes: str | None
    out: Path
    folder: Path
    made_with: dict[str, Any]
    shard: tuple[int, int]


@dataclass(frozen=True)
class Done:
    """What became of a block. left: the places in it of the files that the time did not suffice for.

    said: what a person should hear, and whether it is doubtful.
    """

    draft: str
    number: int
    unreadable: int
    first: tuple[LeftOut, ...]
    left: tuple[int, ...]
    seconds: float
    said: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class Block:
    """Files that a worker answers for at once, and the boxes that a file told of them."""

    files: Sequence[ImageFile]
    told: Mapping[str, Array] | None


class Worker:
    """What Ray Data calls with a row, a block, and from which it takes one, what became of it: a Done or an error."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._ready: tuple[Predictor, Parts, FileBoxes] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            with recording() as said, kept_below(MEMORY):
                given: Done | Exception = self._answer(pickle.loads(row["block"]), said)
        except MogaNetError as error:
            given = error
        except Exception as error:  # which may be of a kind that no other process knows
            given = RuntimeError("".join(traceback.format_exception(error)))
        return {"place": row["place"], "given": pickle.dumps(given)}

    def _answer(self, block: Block, said: list[tuple[str, bool]]) -> Done:
        self._ready = self._ready or self._made_ready()
        predictor, parts, boxes = self._ready
        boxes = boxes if block.told is None else FileBoxes(told=block.told)
        rows = list[Row | LeftOut]()
        begun = time.monotonic()
        with closing(Rows(predictor, block.files, self.job.how, boxes.of_files(block.files)).__iter__()) as coming:
            for some in coming:
                rows += some
                if time.monotonic() - begun > SECONDS:
                    break
        lost = [row for row in rows if isinstance(row, LeftOut)]
        done = {row.file for row in rows}
        return Done(
            draft=parts.draft(rows),
            number=len(rows),
            unreadable=len(lost),
            first=tuple(lost[:FIRST]),
            left=tuple(place for place, file in enumerate(block.files) if str(file) not in done),
            seconds=time.monotonic() - begun,
            said=tuple(said),
        )

    def _made_ready(self) -> tuple[Predictor, Parts, FileBoxes]:
        job = self.job
        try:
            os.chdir(job.folder)
        except OSError as error:
            what = f"{platform.node()} has no folder {job.folder} ({error.strerror}), in which names of files begin"
            raise OutputError(f"{what}; begin in one that all machines see") from None
        predictor = load(job.model, **job.loading)
        found = {"model": predictor.sha256, "runtime": predictor.runtime, "precision": predictor.precision}
        if differing := [key for key, value in found.items() if job.made_with[key] != value]:
            key = differing[0]
            what = f"{platform.node()} has another {key} of {job.model}: {found[key]}, not {job.made_with[key]}"
            raise ConfigError(f"{what}; install the same on all machines of the cluster")
        parts = Parts(job.out, predictor.task, job.made_with, job.shard)
        parts.check_seen()
        return predictor, parts, FileBoxes.of(predictor, job.boxes, ()) if job.boxes else FileBoxes()


def pack(block: Block) -> bytes:
    """Turn a block into what Ray carries."""
    return pickle.dumps(block, pickle.HIGHEST_PROTOCOL)


def unpack(given: bytes) -> Done:
    """Give what became of a block. Raises the worker's error."""
    found = pickle.loads(given)
    if isinstance(found, Exception):
        raise found
    assert isinstance(found, Done)
    return found
