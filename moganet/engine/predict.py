"""`predict`: what a model answers for images, from files or from a data set."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SerializeAsAny

from moganet.config import Precision
from moganet.data import Split
from moganet.data.listing import list_files
from moganet.data.source import spread
from moganet.errors import DataError
from moganet.files import atomic_path
from moganet.inference import Predictor
from moganet.inference.load import as_predictor
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.runs import Outputs
from moganet.inference.runtimes import Runtime
from moganet.inference.stream import Stream, split_of_files
from moganet.notices import noted, say
from moganet.progress import Progress, no_progress
from moganet.report import GridItem, check_picture_name, draw_grid
from moganet.results import LeftOut, Result
from moganet.tasks.task import Asked, Row

MAX_GRID = 48


class Predictions(Result):
    """Rows an image, unless they were handed on as they came; files that can't be read; the picture that was drawn."""

    predictions: tuple[SerializeAsAny[Row], ...]
    unreadable: tuple[LeftOut, ...]
    grid: str | None = None


_Images = tuple[Split, Callable[[int], Any], list[LeftOut]]  # with what is known of the image at a place


@noted
def predict(
    model: str | Path | Predictor,
    files: str | Path | Sequence[str | Path] = (),
    data: str | None = None,
    split: str = "test",
    *,
    top_k: int | None = None,
    limit: int | None = None,
    calibrated: bool = False,
    grid: str | Path | None = None,
    csv_file: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    each: Callable[[Row], object] | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Predictions:
    """Predict images, and go on past those that can't be read.

    files: images, folders (searched to any depth), glob patterns, or "-" for a list of paths on standard input; one or
    several.
    data: SOURCE[:PATH] instead of files, with its `split`; `limit` takes that many, evenly spread.
    top_k: how many classes to name [what the task names]. calibrated: give probabilities scaled by the model file's
    temperature, which `report` fits and keeps.
    batch_size, workers: images at a time, and processes that read them (None: what suits this machine).
    grid: a picture of up to 48 images with prediction and, where known, truth: an image of a set, or one whose
        folder has a class's name. csv_file: a row for each image and class. choices: as in `load`.
    each: is given each row as it comes; then none is kept, however many there are.
    Gives `predictions` (of a classifier {"file", "classes": [{"name", "probability"}]}, with "truth" where known, and
    "rejected" where the model file has a guard or a threshold: the image is unlike those trained on) and `unreadable`.
    """
    if grid is not None:
        check_picture_name(Path(grid))
    if top_k is not None and top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    predictor = as_predictor(model, runtime, precision, **choices)
    named = [files] if isinstance(files, str | Path) else files
    images, truth_of, absent = _collect(predictor, named, data, split, limit)
    several = len(images) > (batch_size or 1)  # one batch is quicker read than processes start
    stream = Stream(predictor, images, batch_size, workers if several else 0, judged=True)
    rows: list[Row] = []
    pictures: list[GridItem] = []
    answered = 0
    with _csv_lines(csv_file, predictor) as write:
        for seen in progress(stream, len(stream), "predict"):
            if not answered:
                _say_score(predictor, seen.outputs)
            answers = predictor.answers(seen.outputs, Asked(top_k, calibrated))
            answered += len(answers)
            for place, answer in zip(seen.places, answers, strict=True):
                truth = truth_of(place)
                row = predictor.task.row(images.name_of(place), answer, truth, trained=predictor.trained)
                write(row)
                (each or rows.append)(row)
                if grid and len(pictures) < MAX_GRID:
                    image = images.with_channels(predictor.config.preprocessing.channels)[place].image
                    pictures.append(predictor.task.picture(image, answer, truth))
    if grid and pictures:
        draw_grid(pictures, Path(grid))
    unreadable = (*absent, *(LeftOut(**one._asdict()) for one in stream.unreadable))
    drawn = {"grid": str(grid)} if pictures else {}
    return Predictions(predictions=tuple(rows), unreadable=unreadable, **drawn)


def _say_score(predictor: Predictor, outputs: Outputs) -> None:
    """Say where images are rejected by a weaker score than the guard, and how to have that."""
    if predictor.task.judged_by(outputs, predictor.config.task) == "energy":
        how = "`moganet report` on it and its own data makes one" if predictor.has_module else "export it again"
        by = "images are rejected by the energy of their logits alone, a weaker score"
        say(f"{predictor.name_of_model} has no guard: {by}; {how}")


def _collect(
    predictor: Predictor, files: Sequence[str | Path], data: str | None, split: str, limit: int | None
) -> _Images:
    if data is not None:
        if files:
            raise DataError("give either files or --data, not both")
        dataset, _ = open_for(predictor, data)
        _, part = choose_split(dataset, split)
        chosen = part.subset(spread(len(part), limit or len(part)))
        return chosen, lambda place: predictor.task.truth(chosen.targets, place, dataset.class_names), []
    if not files:
        raise DataError("nothing to predict; give images, folders, patterns, '-' or --data SOURCE[:PATH]")
    paths, unreadable = list_files(files)
    if not paths and not unreadable:
        raise DataError("nothing to predict: the list on standard input is empty; give a path a line")
    paths = paths[:limit]
    named = split_of_files(paths, predictor.config.preprocessing.white_level)
    return named, lambda place: predictor.task.truth_of_file(paths[place], predictor.config.task), unreadable


@contextmanager
def _csv_lines(path: str | Path | None, predictor: Predictor) -> Iterator[Callable[[Row], object]]:
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
        writer.writerow(predictor.task.columns)
        yield lambda row: writer.writerows(row.cells())
