"""`predict`: what a model answers for images, from files or from a data set."""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import SerializeAsAny

from moganet.config import Precision
from moganet.data.contents import ImageFile
from moganet.data.listing import list_files
from moganet.data.read import read_pixels
from moganet.data.videos import Every, parse_every
from moganet.data.within import PICTURES, Within, in_lane
from moganet.errors import ConfigError, DataError
from moganet.inference.answer_files import is_answer_file
from moganet.inference.coco_results import image_ids
from moganet.inference.destinations import Answered, Destinations, writing
from moganet.inference.file_stream import FileStream
from moganet.inference.files_seen import stream_of_files
from moganet.inference.given_images import GivenImages, are_names
from moganet.inference.hits import Counted, Hits
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Outputs
from moganet.inference.runtimes import Runtime
from moganet.inference.together import OneOrMore, Together, Tta, answered_by, as_one, first_of, num_streams, stream_of
from moganet.inference.which_boxes import boxes_by_place, boxes_in, chosen_boxes
from moganet.notices import noted, say
from moganet.numbers import spread
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Member, Result
from moganet.tasks.records import Row
from moganet.tasks.task import Asked

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data
    from moganet.data.targets import Targets
    from moganet.inference.stream import Stream
    from moganet.inference.together import SideBySide

SHOWN = 20
Truth = Literal["auto", "folders", "none"]


class Predictions(Result):
    """Rows an image, unless they were handed on as they came; files that can't be read; what was written.

    hits: where the truth of some is known. saved, sorted: how many pictures and sorted images were written.
    out, files: where answers were written; of a folder for each image's files, what else it holds. coco: the file of
    COCO's list of results.
    tta: over which views of an image the answers are means. models: those that answered as one, where several did.
    """

    predictions: tuple[SerializeAsAny[Row], ...]
    unreadable: tuple[LeftOut, ...]
    grid: str | None = None
    hits: Hits | None = None
    out: str | None = None
    saved: int | None = None
    sorted: int | None = None
    files: tuple[str, ...] = ()
    coco: str | None = None
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
        if self.hits is not None:
            yield self.hits.line()

    def pictures(self) -> Sequence[Path]:
        """Give the grid."""
        return [] if self.grid is None else [Path(self.grid)]


@dataclass(frozen=True)
class _Reading:
    """How images are read. every: which frames of videos. truth: what tells it."""

    batch_size: int | None
    workers: int | None
    fast_decoding: bool
    every: Every | None = None
    truth: Truth = "auto"
    boxes: Any = None


@dataclass(frozen=True)
class _Asked:
    """What is asked about: the answers to it as they come, and by place an image's name, its pixels and its truth.

    by: what tells the truth. source_of: by place the file, where there is one. timed: some are frames of videos.
    """

    stream: "FileStream | Stream | SideBySide"
    names: Callable[[], list[str]]  # of all images, before they are asked about
    name_of: Callable[[int], str]
    image_of: Callable[[int], Any]
    truth_of: Callable[[int], Any]
    absent: Sequence[LeftOut] = ()
    source_of: Callable[[int], Any] = lambda place: None
    by: str = "folders"
    timed: bool = False
    targets: "Targets | None" = None  # of a data set's images, which may know their ids


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
    every: str | None = None,
    truth: Truth = "auto",
    boxes: Any = None,
    grid: str | Path | None = None,
    csv_file: str | Path | None = None,
    out: str | Path | None = None,
    save_images: str | Path | None = None,
    sort_into: str | Path | None = None,
    links: bool = False,
    coco: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    fast_decoding: bool = False,
    tta: Tta = "none",
    tiles: int | None = None,
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
    files: images, folders (searched to any depth), glob patterns, zip and tar archives, videos, lists of paths (.txt,
    or a table's column), or "-" for a list on standard input; one or several. Or images that you have: bytes, open
    files, PIL images, arrays, tensors; one, a list, or an iterator, of which nothing is kept.
    data: SOURCE[:PATH], or a data set of your own, instead of files, with its `split`; `limit` takes that many, evenly
    spread. class_names: as in `evaluate`.
    top_k: how many classes to name [what the task names]. calibrated: give probabilities scaled by the model file's
    temperature, which `report` fits and keeps.
    batch_size, workers: images at a time, and processes that read them (None: what suits this machine).
    fast_decoding: decode large JPEGs at a fraction of their size, which changes answers a little.
    tta: "flip" answers by the mean over each image and its mirror image, "6" over six views; each row says so.
    tiles: answer images that are larger than this side in pixels by tiles of it, where the task can.
    every: of videos, "1s", "500ms" or "10frames" [a frame a second]; rows have the frame's `time`.
    truth: of files; "auto" takes folders' names that are classes' and says so, "folders" says that it is so, "none"
        leaves it out. Where it is known, `hits` counts the answers that are right.
    boxes: of a model of key points, in which of an image's boxes they are looked for: a file of boxes (a table, COCO's
        annotations or results), a detector (a MODEL or a Predictor: the people that it finds), "whole" (the image
        itself), or of images that you have a list, (N, 4) or (N, 5) each: x, y, width, height in pixels, and scores.
        None is what the data mark, and of files the whole, which is said.
    grid: a picture of up to 48 images with prediction and, where known, truth. csv_file: a row for each image and
        class. out: rows as .jsonl, .parquet or .csv; or, where the task has such, a folder for the files of each
        answer: masks, overlays, areas and COCO's runs.
    save_images: a new folder for a copy of each picture with its answer on it. sort_into: a new folder with one a
        class, into which images are copied, or linked by `links`; rejected ones lie in _rejected.
    coco: a file for all that was found, of any score, as COCO's list of results, with the images' ids: those of the
        data set, or of a JSON file of COCO's form beside the images' folder, or the numbers that the files' names are.
    device, threads, choices: as in `load`.
    each: is given each row as it comes; then none is kept, however many there are.
    Gives `predictions` (of a classifier {"file", "classes": [{"name", "probability"}]}, with "truth" where known, and
    "rejected" where the model file has a guard or a threshold: the image is unlike those trained on) and `unreadable`.
    """
    folders = {"save_images": _path(save_images), "sort_into": _path(sort_into)}
    given = _path(out)
    rows_file, folder = (given, None) if given is not None and is_answer_file(given) else (None, given)
    to = Destinations(_path(csv_file), rows_file, _path(grid), **folders, links=links, coco=_path(coco))
    to.check()
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    if truth not in get_args(Truth):
        raise ConfigError(f"truth is {truth!r}; choose one of {', '.join(get_args(Truth))}")
    frames = None if every is None else parse_every(every)
    predictor = as_one(model, runtime, precision, tta=tta, calibrated=calibrated, device=device, **choices)
    predictor = predictor if tiles is None else predictor.by_tiles(tiles)
    reading = _Reading(batch_size, workers, fast_decoding, frames, truth, chosen_boxes(predictor, boxes, data))
    if data is None:
        named = are_names(files)
        asked = _files(predictor, files, limit, reading) if named else _images(predictor, files, limit, reading)
    elif not are_names(files) or files:
        raise DataError("give either files or --data, not both")
    else:
        asked = _data(predictor, (data, class_names), split, limit, reading)
    stream, rows, counted = asked.stream, list[Row](), Counted(asked.by)
    writer = None if folder is None else predictor.task.writer(folder, asked.names(), predictor.config.task)
    ids = None if coco is None else image_ids(asked.names(), asked.targets)
    more = (*(["time"] if asked.timed else []), *(["tta"] if tta != "none" else []))
    with writing(predictor, to, more=more) as ways:
        for seen in progress(stream, len(stream), "predict"):
            _say_score(predictor, seen.outputs)
            answers = predictor.answers(seen.outputs, Asked(top_k, calibrated))
            for place, answer in zip(seen.places, answers, strict=True):
                one = _answered(predictor, asked, place, answer, tta)
                one = one if ids is None else replace(one, image=ids[place])
                if writer is not None:
                    one = one.with_row(writer.write(place, one.row, one.pixels, answer))
                counted.add(one.right)
                ways.take(one)
                (each or rows.append)(one.row)
    written = {"out": str(out), "files": tuple(writer.close())} if writer is not None else {}
    unreadable = (*asked.absent, *stream.unreadable)
    return Predictions(
        predictions=tuple(rows),
        unreadable=unreadable,
        **ways.written,
        **written,
        **counted.hits(),
        **answered_by(predictor),
    )


def _path(named: str | Path | None) -> Path | None:
    return None if named is None else Path(named)


def _answered(predictor: Predictor, asked: _Asked, place: int, answer: Any, tta: Tta) -> Answered:
    """Give an image's answer with its row."""
    truth, source = asked.truth_of(place), asked.source_of(place)
    row = predictor.task.row(asked.name_of(place), answer, truth, trained=predictor.trained)
    if isinstance(source, Within) and source.time is not None:
        row = row.changed(time=source.time)
    row = row if tta == "none" else row.changed(tta=tta)
    right = None if truth is None else predictor.task.is_right(answer, truth)
    return Answered(row, answer, right, source, lambda: asked.image_of(place))


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
    so["boxes_of"] = boxes_by_place(how.boxes, images.names)
    return _Asked(
        stream_of(predictor, lambda one: FileStream(one, images, threads=threads, **so)),
        images.names,
        images.name_of,
        lambda place: read_pixels(images.image_of(place), 3, own.white_level),
        images.forget_before,  # of which no truth is known
    )


def _files(predictor: Predictor, files: Any, limit: int | None, how: _Reading) -> _Asked:
    """Ask about files: read by threads where that is enough, by processes where those are asked for, or feed a GPU."""
    named = [os.fspath(one) for one in ([files] if isinstance(files, str | os.PathLike) else files)]
    if not named:
        raise DataError("nothing to predict; give images, folders, patterns, '-' or --data SOURCE[:PATH]")
    files, absent = list_files(named, how.every)
    if not files and not absent:
        raise DataError("nothing to predict: the list on standard input is empty; give a path a line")
    timed = any(isinstance(file, Within) and file.time is not None for file in files)
    if how.every is not None and not timed:
        say("--every is for videos, of which none was named")
    files, own = files[:limit], predictor.config.preprocessing
    return _Asked(
        stream_of_files(
            predictor,
            files,
            batch_size=how.batch_size,
            workers=how.workers,
            fast_decoding=how.fast_decoding,
            boxes_of=boxes_by_place(how.boxes, lambda: [str(file) for file in files]),
        ),
        lambda: [str(file) for file in files],
        lambda place: str(files[place]),
        lambda place: read_pixels(in_lane([files[place]], PICTURES)[0], 3, own.white_level),
        _truth_by_folders(predictor, files, how.truth),
        absent,
        lambda place: files[place],
        timed=timed,
    )


def _truth_by_folders(predictor: Predictor, files: Sequence[ImageFile], how: Truth) -> Callable[[int], Any]:
    """Give what tells the truth of images by their folders' names, and say for how many that is.

    Raises DataError where it is asked for and not one is so.
    """
    if how == "none":
        return lambda place: None
    truths = [predictor.task.truth_of_file(Path(str(file)), predictor.config.task) for file in files]
    found = dict.fromkeys(truth for truth in truths if truth is not None)
    known = sum(truth is not None for truth in truths)
    if how == "folders" and not known:
        what = "no image lies in a folder with a class's name"
        raise DataError(f"{what} ({', '.join(predictor.class_names[:5])}, …), so that none tells the truth")
    if known and (how == "auto" or known < len(files)):
        shown = ", ".join(list(found)[:3]) + (", …" if len(found) > 3 else "")
        choose = "; --truth none leaves it out" if how == "auto" else ""
        say(f"the truth of {known:,} of {len(files):,} images is taken from their folders' names ({shown}){choose}")
    return truths.__getitem__


def _data(
    predictor: Predictor, named: "tuple[Data, ClassNames | None]", split: str, limit: int | None, how: _Reading
) -> _Asked:
    own_data, stream = (importlib.import_module(f"moganet.inference.{name}") for name in ("own_data", "stream"))
    dataset, _ = own_data.open_for(first_of(predictor), *named)
    _, part = own_data.choose_split(dataset, split)
    chosen = part.subset(spread(len(part), limit or len(part)))
    workers = how.workers if len(chosen) > (how.batch_size or 1) else 0
    so: dict[str, Any] = {
        "batch_size": how.batch_size,
        "workers": workers,
        "fast_decoding": how.fast_decoding,
        "judged": True,
        "boxes_of": boxes_in(chosen, how.boxes),
    }
    in_channels = chosen.with_channels(3)
    return _Asked(
        stream_of(predictor, lambda one: stream.Stream(one, chosen, **so)),
        lambda: [chosen.name_of(place) for place in range(len(chosen))],
        chosen.name_of,
        lambda place: in_channels[place].image.numpy(),
        lambda place: None if how.truth == "none" else predictor.task.truth(chosen.targets, place, dataset.class_names),
        source_of=lambda place: chosen.files[place] if hasattr(chosen, "files") else None,
        by="data",
        targets=chosen.targets,
    )
