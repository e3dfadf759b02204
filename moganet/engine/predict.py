"""`predict`: what a model answers for images, from files or from a data set."""

import csv
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SerializeAsAny

from moganet import report
from moganet.config import Precision
from moganet.data.listing import list_files
from moganet.data.read import read_pixels
from moganet.errors import DataError
from moganet.files import atomic_path
from moganet.inference.file_stream import FileStream
from moganet.inference.given_images import GivenImages, are_names
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Outputs
from moganet.inference.runtimes import Runtime
from moganet.inference.together import OneOrMore, Together, Tta, answered_by, as_one, first_of, num_streams, stream_of
from moganet.notices import noted, say
from moganet.numbers import spread
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Member, Result
from moganet.tasks.task import Asked, Row

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data
    from moganet.inference.stream import Stream
    from moganet.inference.together import SideBySide

MAX_GRID, SHOWN = 48, 20


class Predictions(Result):
    """Rows an image, unless they were handed on as they came; files that can't be read; the picture that was drawn.

    out, files: the folder of what was written of each image, and what else it holds.
    tta: over which views of an image the answers are means. models: those that answered as one, where several did.
    """

    predictions: tuple[SerializeAsAny[Row], ...]
    unreadable: tuple[LeftOut, ...]
    grid: str | None = None
    out: str | None = None
    files: tuple[str, ...] = ()
    tta: str | None = None
    models: tuple[Member, ...] = ()

    def lines(self) -> Iterator[str]:
        """Say the first answers, a line each, and how many images there are."""
        yield from (f"{row.file}  {row.text()}" for row in self.predictions[:SHOWN])
        if (more := len(self.predictions) - SHOWN) > 0:
            yield f"and {more:,} more"
        yield from (f"can't be read: {one.reason}" for one in self.unreadable[:SHOWN])
        if (more := len(self.unreadable) - SHOWN) > 0:
            yield f"and {more:,} more can't be read"

    def pictures(self) -> Sequence[Path]:
        """Give the grid."""
        return [] if self.grid is None else [Path(self.grid)]


@dataclass(frozen=True)
class _Reading:
    """How images are read."""

    batch_size: int | None
    workers: int | None
    fast_decoding: bool


@dataclass(frozen=True)
class _Asked:
    """What is asked about: the answers to it as they come, and by place an image's name, its pixels and its truth."""

    stream: "FileStream | Stream | SideBySide"
    names: Callable[[], list[str]]  # of all images, before they are asked about
    name_of: Callable[[int], str]
    image_of: Callable[[int], Any]
    truth_of: Callable[[int], Any]
    absent: Sequence[LeftOut] = ()


@noted
@threaded
def predict(
    model: OneOrMore,
    files: Any = (),
    data: "Data | None" = None,
    split: str = "test",
    *,
    class_names: "ClassNames | None" = None,
    top_k: int | None = None,
    limit: int | None = None,
    calibrated: bool = False,
    grid: str | Path | None = None,
    csv_file: str | Path | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    fast_decoding: bool = False,
    tta: Tta = "none",
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    each: Callable[[Row], object] | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Predictions:
    """Predict images, and go on past those that can't be read.

    model: a MODEL, a Predictor, or a list of several of the same classes, which answer by the mean of their
    probabilities (calibrated ones where each keeps a temperature).
    files: images, folders (searched to any depth), glob patterns, or "-" for a list of paths on standard input; one or
    several. Or images that you have: bytes, open files, PIL images, arrays, tensors; one, a list, or an iterator, of
    which nothing is kept.
    data: SOURCE[:PATH], or a data set of your own, instead of files, with its `split`; `limit` takes that many, evenly
    spread. class_names: as in `evaluate`.
    top_k: how many classes to name [what the task names]. calibrated: give probabilities scaled by the model file's
    temperature, which `report` fits and keeps.
    batch_size, workers: images at a time, and processes that read them (None: what suits this machine).
    fast_decoding: decode large JPEGs at a fraction of their size, which changes answers a little.
    tta: "flip" answers by the mean over each image and its mirror image; each row says so.
    grid: a picture of up to 48 images with prediction and, where known, truth: an image of a set, or one whose
        folder has a class's name. csv_file: a row for each image and class. device, threads, choices: as in `load`.
    out: a folder for the files of each answer, where the task has such: masks, overlays, areas and COCO's runs.
    each: is given each row as it comes; then none is kept, however many there are.
    Gives `predictions` (of a classifier {"file", "classes": [{"name", "probability"}]}, with "truth" where known, and
    "rejected" where the model file has a guard or a threshold: the image is unlike those trained on) and `unreadable`.
    """
    if grid is not None:
        report.check_picture_name(Path(grid))
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    predictor = as_one(model, runtime, precision, tta=tta, calibrated=calibrated, device=device, **choices)
    reading = _Reading(batch_size, workers, fast_decoding)
    if data is None:
        named = are_names(files)
        asked = _files(predictor, files, limit, reading) if named else _images(predictor, files, limit, reading)
    elif not are_names(files) or files:
        raise DataError("give either files or --data, not both")
    else:
        asked = _data(predictor, (data, class_names), split, limit, reading)
    stream = asked.stream
    rows: list[Row] = []
    pictures: list[report.GridItem] = []
    writer = None if out is None else predictor.task.writer(Path(out), asked.names(), predictor.config.task)
    columns = predictor.task.columns if tta == "none" else (*predictor.task.columns, "tta")
    with _csv_lines(csv_file, columns) as write:
        for seen in progress(stream, len(stream), "predict"):
            _say_score(predictor, seen.outputs)
            answers = predictor.answers(seen.outputs, Asked(top_k, calibrated))
            for place, answer in zip(seen.places, answers, strict=True):
                truth = asked.truth_of(place)
                row = predictor.task.row(asked.name_of(place), answer, truth, trained=predictor.trained)
                row = row if tta == "none" else row.changed(tta=tta)
                if writer is not None:
                    row = writer.write(place, row, asked.image_of(place), answer)
                write(row)
                (each or rows.append)(row)
                if grid and len(pictures) < MAX_GRID:
                    picture = predictor.task.picture(asked.image_of(place), answer, truth)
                    pictures.append(replace(picture, name=asked.name_of(place)))
    if grid and pictures:
        report.draw_grid(pictures, Path(grid))
    unreadable = (*asked.absent, *stream.unreadable)
    drawn: dict[str, Any] = {"grid": str(grid)} if pictures else {}
    if writer is not None:
        drawn |= {"out": str(out), "files": tuple(writer.close())}
    return Predictions(predictions=tuple(rows), unreadable=unreadable, **drawn, **answered_by(predictor))


def _say_score(predictor: Predictor, outputs: Outputs) -> None:
    """Say, once in a verb, where images are rejected by a weaker score than the guard, and how to have that."""
    if predictor.judged_by(outputs) == "energy":
        can_report = predictor.has_module or isinstance(predictor, Together)
        how = "`moganet report` on it and its own data makes one" if can_report else "export it again"
        by = "images are rejected by the energy of their logits alone, a weaker score"
        say(f"{predictor.name_of_model} has no guard: {by}; {how}")


def _images(predictor: Predictor, given: Any, limit: int | None, how: _Reading) -> _Asked:
    """Ask about images that the caller has, as they come."""
    images, own = GivenImages(given, limit, num_streams(predictor)), predictor.config.preprocessing
    if images.number == 0:
        raise DataError("nothing to predict: there is no image")
    threads = 0 if how.workers == 0 else None
    so: dict[str, Any] = {"batch_size": how.batch_size, "fast_decoding": how.fast_decoding, "judged": True}
    return _Asked(
        stream_of(predictor, lambda one: FileStream(one, images, threads=threads, **so)),
        images.names,
        images.name_of,
        lambda place: read_pixels(images.image_of(place), own.channels, own.white_level),
        images.forget_before,  # of which no truth is known
    )


def _files(predictor: Predictor, files: Any, limit: int | None, how: _Reading) -> _Asked:
    """Ask about files: read by threads where that is enough, by processes where those are asked for, or feed a GPU."""
    named = [os.fspath(one) for one in ([files] if isinstance(files, str | os.PathLike) else files)]
    if not named:
        raise DataError("nothing to predict; give images, folders, patterns, '-' or --data SOURCE[:PATH]")
    files, absent = list_files(named)
    if not files and not absent:
        raise DataError("nothing to predict: the list on standard input is empty; give a path a line")
    files, own = files[:limit], predictor.config.preprocessing
    so: dict[str, Any] = {"batch_size": how.batch_size, "fast_decoding": how.fast_decoding, "judged": True}
    if (how.workers or predictor.device.type != "cpu") and len(files) > (how.batch_size or 1):  # one batch is read here
        many = importlib.import_module("moganet.inference.stream")

        def make(one: Predictor) -> Any:
            return many.Stream(
                one, many.split_of_files(files, one.config.preprocessing.white_level), workers=how.workers, **so
            )

    else:

        def make(one: Predictor) -> Any:
            return FileStream(one, files, threads=0 if how.workers == 0 else None, **so)

    return _Asked(
        stream_of(predictor, make),
        lambda: [str(file) for file in files],
        lambda place: str(files[place]),
        lambda place: read_pixels(files[place], own.channels, own.white_level),
        lambda place: predictor.task.truth_of_file(files[place], predictor.config.task),
        absent,
    )


def _data(
    predictor: Predictor, named: "tuple[Data, ClassNames | None]", split: str, limit: int | None, how: _Reading
) -> _Asked:
    own_data, stream = (importlib.import_module(f"moganet.inference.{name}") for name in ("own_data", "stream"))
    dataset, _ = own_data.open_for(first_of(predictor), *named)
    _, part = own_data.choose_split(dataset, split)
    chosen = part.subset(spread(len(part), limit or len(part)))
    workers = how.workers if len(chosen) > (how.batch_size or 1) else 0
    so = {"batch_size": how.batch_size, "workers": workers, "fast_decoding": how.fast_decoding, "judged": True}
    in_channels = chosen.with_channels(predictor.config.preprocessing.channels)
    return _Asked(
        stream_of(predictor, lambda one: stream.Stream(one, chosen, **so)),
        lambda: [chosen.name_of(place) for place in range(len(chosen))],
        chosen.name_of,
        lambda place: in_channels[place].image,
        lambda place: predictor.task.truth(chosen.targets, place, dataset.class_names),
    )


@contextmanager
def _csv_lines(path: str | Path | None, columns: Sequence[str]) -> Iterator[Callable[[Row], object]]:
    """Give what writes a row's lines into a CSV file, which appears when all are written."""
    if path is None:
        yield lambda row: None
        return
    # A name that isn't UTF-8 is written as the bytes that it has.
    with (
        atomic_path(Path(path)) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(columns)
        yield lambda row: writer.writerows((*cells, *([row.tta] if row.tta else ())) for cells in row.cells())
