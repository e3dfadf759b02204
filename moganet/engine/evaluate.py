"""`evaluate`: how good a model is on a labelled set, and how fast over the whole of it."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moganet.config import Precision
from moganet.errors import OutputError
from moganet.files import check_place, to_json, write_text
from moganet.inference import Predictor
from moganet.inference.own_data import choose_split, in_classes_of, open_for, say_absent
from moganet.inference.runtimes import Runtime
from moganet.inference.stream import Stream
from moganet.inference.together import OneOrMore, Tta, answered_by, as_one, first_of, say_trained_on, stream_of
from moganet.inference.which_boxes import boxes_in, chosen_boxes, name_of_boxes
from moganet.notices import noted, say
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.tasks.evaluator import Evaluator
from moganet.tasks.records import Evaluation

if TYPE_CHECKING:
    from moganet.data import Split
    from moganet.data.in_python import ClassNames, Data

EVALUATION_FILE = "evaluation.json"


@noted
@threaded
def evaluate(
    model: OneOrMore,
    data: "Data | None" = None,
    split: str = "test",
    *,
    class_names: "ClassNames | None" = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    fast_decoding: bool = False,
    tta: Tta = "none",
    tiles: int | None = None,
    boxes: Any = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Evaluation:
    """Measure a model on a split of a data set.

    model: a MODEL, a Predictor, or a list of several of the same classes, which answer by the mean of their
    probabilities (calibrated ones where each keeps a temperature).
    data: SOURCE[:PATH], a path, or a data set of your own, as in `open_data`, with class_names where it names none and
        its labels are not the model's; None takes the set that the model was trained on, the first of several.
    split: "test", "val", "train" or "all". Where a set has no "test", "val" is taken; `split` in the result says so.
    batch_size, workers: images at a time, and processes that read them (None: what suits this machine).
    fast_decoding: decode large JPEGs at a fraction of their size, which changes figures a little; the result says so.
    tta: "flip" measures the mean over each image and its mirror image, "6" over six views; the result says so.
    tiles: answer images larger than this side in pixels by tiles of it, where the task can; the result says so.
    boxes: of a model of key points, in which boxes of an image they are looked for, as in `predict`: a file, a
        detector, a list of boxes an image, or "whole"; None is those that the data mark. The result says so.
    device, threads, choices: as in `load`; with any choice, nothing is written by default, since it is not what the
    run was made for.
    out: a folder for evaluation.json and the task's pictures; for a run's folder the default is in that folder.
    Gives the figures of the model's task (a classifier's are in moganet.tasks.classify.evaluator), `images_per_second`
    (decoding included) and `unreadable` files, which count nowhere.
    Raises DataError, WeightsError or, before anything is measured, OutputError.
    """
    if out is not None:
        check_place(Path(out) / EVALUATION_FILE, "--out")
    predictor = as_one(model, runtime, precision, tta=tta, device=device, **choices)
    predictor = predictor if tiles is None else predictor.by_tiles(tiles)
    dataset, is_home = open_for(first_of(predictor), data, class_names)
    predictor.task.check(dataset, training=False)
    split, images = choose_split(dataset, split)
    images = in_classes_of(predictor, dataset, images)
    say_trained_on(predictor, images, f"{dataset.spec} ({split})")
    how: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "fast_decoding": fast_decoding}
    how["boxes_of"] = boxes_in(images, chosen_boxes(predictor, boxes, dataset))
    whose = None if boxes is None else name_of_boxes(boxes)
    stream = stream_of(predictor, lambda one: Stream(one, images, **how))
    evaluator = predictor.task.evaluator(predictor.config.task, keeps=True)
    start = time.perf_counter()
    places = tell(evaluator, stream, images, progress, "evaluate")
    seconds = time.perf_counter() - start
    stream.check(f"{dataset.spec} ({split})")
    say_absent(images.subset(places), predictor.class_names, split)
    result = predictor.task.evaluation(
        data=dataset.spec,
        split=split,
        num_images=stream.num_seen,
        **evaluator.details(),
        images_per_second=stream.num_seen / seconds,
        seconds=seconds,
        unreadable=tuple(stream.unreadable),
        model=predictor.name_of_model,
        sha256=predictor.config.sha256,
        runtime=predictor.runtime,
        precision=predictor.precision,
        untrained=not predictor.trained,
        fast_decoding=fast_decoding,
        **answered_by(predictor),
        **({} if tiles is None else {"tiles": tiles}),
        **({} if whose is None else {"boxes": whose}),
    )
    if out is None and not choices:
        views = [*([] if tta == "none" else [tta]), *([] if tiles is None else [f"tiles{tiles}"])]
        views += [] if whose is None else [f"boxes-{Path(whose).stem[:40]}"]
        out = _folder_in_run(model, "" if is_home else dataset.spec, [split, *views])
    return result if out is None else _write(result, Path(out), predictor, evaluator)


def tell(evaluator: Evaluator, stream: Any, images: "Split", progress: Progress, what: str) -> list[int]:
    """Tell an evaluator what a stream's predictor gives for images; give the places of those that can be read."""
    task, places = stream.predictor.task, list[int]()
    for seen in progress(stream, len(stream), what):
        wanted = seen.outputs if task.by_image else task.outputs
        outputs = {name: torch.from_numpy(seen.outputs[name]) for name in wanted}
        evaluator.update(outputs, seen.targets, [images.name_of(place) for place in seen.places])
        places += seen.places
    return places


def _folder_in_run(model: OneOrMore, other: str, how: Sequence[str]) -> Path | None:
    """Name the folder in that of a run, of which alone the model is; None for others.

    other: a set not its own. how: the split, and what is not as usual.
    """
    alone = model[0] if isinstance(model, list | tuple) and len(model) == 1 else model
    if not isinstance(alone, str | os.PathLike) or not Path(alone).is_dir():
        return None
    source, _, place = other.partition(":")
    named = f"{source}-{Path(place).stem[:40]}-" if place else f"{source}-" if source else ""
    return Path(alone) / f"evaluation-{named}{'-'.join(how)}"


def _write(result: Evaluation, folder: Path, predictor: Predictor, evaluator: Evaluator) -> Evaluation:
    """Write the files of an evaluation; what was measured is worth more than they are."""
    try:
        write_text(folder / EVALUATION_FILE, to_json(result, indent=1))
        drawn = [*evaluator.write(folder), *predictor.task.draw(result, predictor.class_names, folder)]
    except OutputError as error:
        say(f"{error} by --out; the figures are kept nowhere else", doubtful=True)
        return result.changed(unwritten=str(error))
    return result.changed(out=str(folder), files=(EVALUATION_FILE, *drawn))
