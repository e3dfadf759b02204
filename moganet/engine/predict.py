"""`predict`: the likeliest classes of images, from files or from a data set."""

import csv
import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moganet.config import Precision, Preprocessing
from moganet.data import FileSplit, Split
from moganet.data.contents import ImageFile
from moganet.data.folder import list_images
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import decode, normalize, preprocess
from moganet.data.source import spread
from moganet.data.targets import ClassIndices
from moganet.engine.evaluate import choose_split, default_batch, open_for
from moganet.errors import DataError
from moganet.files import atomic_path, read_names, typed_path
from moganet.inference import Predictor
from moganet.inference.load import as_predictor
from moganet.inference.predictor import Prediction
from moganet.inference.runtimes import Runtime
from moganet.machine import keep_freed_memory
from moganet.notices import noted
from moganet.progress import Progress, no_progress
from moganet.report import GridItem, check_picture_name, draw_grid


@noted
def predict(
    model: str | Path | Predictor,
    files: str | Path | Sequence[str | Path] = (),
    data: str | None = None,
    split: str = "test",
    *,
    top_k: int = 5,
    limit: int | None = None,
    calibrated: bool = False,
    grid: str | Path | None = None,
    csv_file: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    **choices: Any,
) -> dict[str, Any]:
    """Predict images, and go on past those that can't be read.

    files: images, folders (searched to any depth), glob patterns, or "-" for a list of paths on standard input; one or
    several.
    data: SOURCE[:PATH] instead of files, with its `split`; `limit` takes that many, evenly spread.
    batch_size, workers: images at a time, and processes that read them (None: what suits this machine).
    calibrated: give probabilities scaled by the model file's temperature, which `report` fits and keeps.
    choices: as in `load`.
    grid: a picture of up to 48 images with prediction and, where known, truth: an image of a set, or one whose
        folder has a class's name. csv_file: a row for each image and class.
    Gives `predictions` ({"file", "classes": [{"name", "probability"}]}, with "truth" where known, and
    "rejected" where the model file keeps a threshold: the image is unlike those trained on) and `unreadable`.
    """
    if grid is not None:
        check_picture_name(Path(grid))
    if top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    predictor = as_predictor(model, runtime, precision, **choices)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    items, unreadable = _collect(predictor, [files] if isinstance(files, str | Path) else files, data, split, limit)
    predictions: list[dict[str, Any]] = []
    pictures: list[GridItem] = []
    batch_size = batch_size or default_batch(predictor)
    total = -(-len(items) // batch_size)
    for kept, x in progress(_batches(items, predictor, (batch_size, workers), unreadable), total, "predict"):
        logits = predictor.logits(x)
        named = predictor.name(predictor.probabilities(logits, calibrated), top_k, predictor.rejected(logits))
        for (name, truth, image), found in zip(kept, named, strict=True):
            predictions.append(_as_json(name, truth, found, predictor.trained))
            if grid and len(pictures) < MAX_GRID:
                preprocessing = predictor.config.preprocessing
                picture = decode(image, preprocessing.channels, preprocessing.white_level)
                best = found.names[0], found.probabilities[0]
                pictures.append(GridItem(picture, *best, truth, rejected=bool(found.rejected)))
    if grid and pictures:
        draw_grid(pictures, Path(grid))
    if csv_file:
        _write_csv(predictions, Path(csv_file))
    drawn = {"grid": str(grid)} if pictures else {}
    return {"predictions": predictions, "unreadable": unreadable, **drawn}


MAX_GRID = 48
Item = tuple[str, str | None, Any]  # name, truth, and a path or an image


def _collect(
    predictor: Predictor, files: Sequence[str | Path], data: str | None, split: str, limit: int | None
) -> tuple[list[Item], list[dict[str, str]]]:
    if data is not None:
        if files:
            raise DataError("give either files or --data, not both")
        dataset, _ = open_for(predictor, data)
        _, part = choose_split(dataset, split)
        return list(_items_of_split(part, dataset.class_names, limit)), []
    if not files:
        raise DataError("nothing to predict; give images, folders, patterns, '-' or --data SOURCE[:PATH]")
    paths, unreadable = list_files(files)
    if not paths and not unreadable:
        raise DataError("nothing to predict: the list on standard input is empty; give a path a line")
    known = set(predictor.class_names)
    return [(str(p), p.parent.name if p.parent.name in known else None, p) for p in paths[:limit]], unreadable


def list_files(patterns: Iterable[str | Path]) -> tuple[list[Path], list[dict[str, str]]]:
    """Give the image files that paths, folders, globs and "-" name, each once, and what names nothing."""
    paths: dict[Path, None] = {}
    missing: list[dict[str, str]] = []
    for pattern in _expand_stdin(patterns):
        try:
            found = _expand(pattern)
        except OSError as error:  # a name that is too long, a folder that may not be searched
            missing.append({"file": pattern, "reason": str(error.strerror)})
            continue
        for path in found:  # a pipe or a device may never give an end
            if path.is_file() or not path.exists():
                paths[path] = None
            else:
                missing.append({"file": str(path), "reason": "it is neither a file nor a folder"})
        if not found:
            missing.append({"file": pattern, "reason": _why_nothing(pattern)})
    return list(paths), missing


def _why_nothing(pattern: str) -> str:
    if Path(pattern).is_dir():
        return "the folder has no images"
    return "the pattern names no file" if glob.has_magic(pattern) else "there is no such file"


def _expand(pattern: str) -> list[Path]:
    path = typed_path(pattern)
    matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    return [file for match in matches for file in (list_images(match) if match.is_dir() else [match])]


def _expand_stdin(patterns: Iterable[str | Path]) -> Iterator[str]:
    for pattern in patterns:
        if str(pattern) == "-":
            yield from read_names(sys.stdin)
        else:
            yield str(pattern)


def _items_of_split(split: Split, class_names: tuple[str, ...], limit: int | None) -> Iterator[Item]:
    for index in spread(len(split), limit or len(split)):
        truth = split.targets.text(index, class_names)
        if isinstance(split, FileSplit):
            yield str(split.files[index]), truth, split.files[index]
        else:
            sample = split[index]
            yield sample.name, truth, sample.image


def _batches(
    items: list[Item], predictor: Predictor, how: tuple[int, int | None], unreadable: list[dict[str, str]]
) -> Iterator[tuple[list[Item], Tensor]]:
    """Give the readable items of each batch, and the network's input for them (B, C, H, W).

    how: images at a time, and processes that read them.
    """
    preprocessing, (batch_size, workers) = predictor.config.preprocessing, how
    if not all(isinstance(item[2], ImageFile) for item in items):  # a set in memory
        for start in range(0, len(items), batch_size):
            made = [(item, _input(item, preprocessing, unreadable)) for item in items[start : start + batch_size]]
            readable = [(item, x) for item, x in made if x is not None]
            if readable:
                yield [item for item, _ in readable], torch.stack([x for _, x in readable])
        return
    # Several batches are decoded and resized by workers, while the network works; one is quicker done than they start.
    workers = workers if len(items) > batch_size else 0
    labels = ClassIndices(torch.zeros(len(items), dtype=torch.long))
    files = FileSplit([item[2] for item in items], labels, white_level=preprocessing.white_level)
    loader = evaluation_loader(files, preprocessing, batch_size, workers)
    for number, batch in enumerate(loader):
        left_out = {bad.file for bad in batch.unreadable}
        unreadable += [bad._asdict() for bad in batch.unreadable]
        kept = [item for item in items[number * batch_size : (number + 1) * batch_size] if str(item[2]) not in left_out]
        if kept:
            yield kept, normalize(batch.images, preprocessing)


def _input(item: Item, preprocessing: Preprocessing, unreadable: list[dict[str, str]]) -> Tensor | None:
    try:
        return preprocess(decode(item[2], preprocessing.channels, preprocessing.white_level), preprocessing)
    except DataError as error:
        unreadable.append({"file": item[0], "reason": str(error)})
        return None


def _as_json(name: str, truth: str | None, found: Prediction, trained: bool) -> dict[str, Any]:
    classes = [{"name": n, "probability": p} for n, p in zip(found.names, found.probabilities, strict=True)]
    result: dict[str, Any] = {"file": name, "classes": classes}
    if truth is not None:
        result["truth"] = truth
    if found.rejected is not None:
        result["rejected"] = found.rejected
    if not trained:
        result["untrained"] = True
    return result


def _write_csv(predictions: list[dict[str, Any]], path: Path) -> None:
    # A name that isn't UTF-8 is written as the bytes that it has.
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["file", "truth", "rank", "name", "probability", "rejected"])
        for item in predictions:
            rejected = {True: "yes", False: "no", None: ""}[item.get("rejected")]
            for rank, found in enumerate(item["classes"], 1):
                probability = f"{found['probability']:.6f}"
                writer.writerow([item["file"], item.get("truth", ""), rank, found["name"], probability, rejected])
