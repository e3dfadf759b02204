"""`report`: one self-contained page that shows a person how good a model is, and where it fails."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from moganet.config import Precision
from moganet.data import Dataset, FileSplit, Split
from moganet.data.loader import Unreadable
from moganet.engine.diagnose import (
    MAX_DOUBTFUL,
    Album,
    Answers,
    Explain,
    choose_errors,
    choose_hits,
    examine_images,
    explain_answers,
    fill_cells,
    find_doubtful,
    show,
)
from moganet.engine.evaluate import (
    CALIBRATION_BINS,
    Progress,
    choose_split,
    collect_logits,
    default_batch,
    match_classes,
    measure,
    no_progress,
    open_for,
    say_absent,
)
from moganet.engine.facts import Origin, costs, figures, provenance, read_origin, versions
from moganet.errors import DataError, MogaNetError, OutputError, WeightsError
from moganet.explanations.input_gradients import input_gradients
from moganet.files import check_place
from moganet.inference import Predictor, load
from moganet.inference.calibration import MIN_IMAGES, fit_reject, fit_temperature, keep_calibration, why_no_temperature
from moganet.inference.runtimes import Runtime
from moganet.machine import keep_freed_memory
from moganet.models.find import find
from moganet.notices import noted, say
from moganet.report.page import Calibration, Report, Shown, write_page
from moganet.report.sheet import make_sheet
from moganet.tasks.classify.description import Reject

REPORT_FILE = "report.html"
FRESH = ("test", "val")  # the splits of its own set that a model was not trained on
SHEET_BYTES, HEAT_BYTES = 3_300_000, 700_000  # of base64: the page stays below 5 MB

# How errors and close calls are explained: (network, x (B, C, H, W), classes (B,)) -> maps (B, H, W), and its name.
EXPLAIN: Explain | None = input_gradients
EXPLAINED_BY = "averaged input gradients"


@dataclass(frozen=True)
class _Measured:
    """A split that the network has seen: logits (n, classes), labels (n,) of the model, and the images per second."""

    answers: Answers
    logits: Tensor
    labels: Tensor
    rate: float
    unreadable: list[Unreadable]


@noted
def write_report(
    model: str | Path,
    data: str | None = None,
    split: str = "test",
    *,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    explain: Explain | None = EXPLAIN,
    progress: Progress = no_progress,
    result: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a page on a model: what it gets right and wrong, on which images, and what those images are like.

    model, data, split: as in `evaluate`. A temperature is fitted on the validation images where the model file keeps
    none, and kept in it, for `predict(calibrated=True)`.
    out: the HTML file; the default is report.html in a run's folder, else NAME-report.html here.
    explain: shows where the network looked; None leaves that out. result: of a run that has not written it yet.
    Gives `report` (the file), `bytes`, `seconds`, what was measured, and `left_out` ({"part", "reason"}). A part whose
    package is not installed is left out and says so. Raises DataError, WeightsError or OutputError.
    """
    start = time.perf_counter()
    page = Path(out) if out is not None else _default_page(model)
    if page.is_dir():
        raise OutputError(f"{page} is a folder; give --out the name of an HTML file, say {page / REPORT_FILE}")
    check_place(page, "--out")
    predictor = load(model, runtime, precision)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    dataset, is_home = open_for(predictor, data)
    order = match_classes(dataset.class_names, predictor.class_names)
    name, images = choose_split(dataset, split)
    batch = batch_size or default_batch(predictor)
    tested = _see(predictor, name, images, order, (batch, workers, progress))
    held = dataset.splits.get("val")
    validated = tested if held is images else None
    if held is not None and held is not images:
        validated = _see(predictor, "val", held, order, (batch, workers, progress))
    calibration = _calibrate(predictor, tested, validated, model if is_home else None)
    origin = read_origin(model, predictor, result)
    seen = [tested] if validated is None or validated is tested else [tested, validated]
    fresh = [
        part.answers for part in seen if part.answers.name in FRESH or not (is_home or part.answers.name == "train")
    ]
    report = _compose(predictor, dataset, tested, calibration, fresh=fresh, explain=explain, origin=origin)
    write_page(report, page)
    return {
        "report": str(page),
        "bytes": page.stat().st_size,
        "seconds": time.perf_counter() - start,
        "data": dataset.spec,
        "split": name,
        "num_images": len(tested.labels),
        "top1": report.top1,
        "temperature": calibration.temperature,
        "ece": calibration.error_before,
        "ece_calibrated": calibration.error_after,
        "suspected_labels": report.num_doubtful if "labels" not in report.missing else None,
        "copies": [
            {"split": second, "in": first, "images": number}
            for (first, second), number in (report.images.copies.items() if report.images else ())
        ],
        "left_out": [{"part": part, "reason": reason} for part, reason in report.missing.items()],
        "unreadable": [bad._asdict() for bad in tested.unreadable],
        "untrained": not predictor.trained,
    }


def _default_page(model: str | Path) -> Path:
    path = Path(model)
    return path / REPORT_FILE if path.is_dir() else Path(f"{path.stem if path.is_file() else path.name}-{REPORT_FILE}")


def _see(
    predictor: Predictor, name: str, images: Split, order: Tensor, how: tuple[int, int | None, Progress]
) -> _Measured:
    """Let the network see a split. Raises DataError where none of it can be read."""
    begin = time.perf_counter()
    logits, labels, unreadable = collect_logits(predictor, images, *how)
    seconds = time.perf_counter() - begin
    if not len(labels):
        reason = unreadable[0].reason if unreadable else "it has none"
        raise DataError(f"none of the {len(images)} images ({name}) can be read: {reason}")
    labels, left_out = order[labels], {bad.file for bad in unreadable}
    places = np.arange(len(images))
    if isinstance(images, FileSplit):
        places = np.array([i for i, file in enumerate(images.files) if str(file) not in left_out])
    answers = Answers(name, images, places, labels.numpy(), logits.softmax(1).numpy())
    return _Measured(answers, logits, labels, len(labels) / seconds, unreadable)


def _calibrate(
    predictor: Predictor, tested: _Measured, validated: _Measured | None, keep_in: str | Path | None
) -> Calibration:
    """Take the model's temperature, or fit one on the validation images and keep it in the model's file."""
    temperature, classes = predictor.config.task.temperature, len(predictor.class_names)
    same = " It was fitted on these same images, so that the error after is flattering." if validated is tested else ""
    if temperature is not None:
        source = f"The temperature is the one that the model file keeps.{same}"
    elif validated is None or classes < 2:
        source = "There are no validation images of the model to fit a temperature on."
    else:
        number, errors = len(validated.labels), int((validated.logits.argmax(1) != validated.labels).sum())
        temperature = fit_temperature(validated.logits, validated.labels)
        source = f"The temperature was fitted on {number:,} validation images.{same}"
        if refused := why_no_temperature(temperature, number, errors):
            say(refused)
            temperature, source = None, f"{refused[0].upper()}{refused[1:]}."
        if keep_in is None:
            source += " It is not kept: these are no validation images of the model." if temperature else ""
        elif number >= MIN_IMAGES:
            source += _keep(keep_in, temperature, fit_reject(validated.logits))
    before, after = tested.answers.confidence, None
    error, error_after = _calibration_error(tested.logits, tested.labels), None
    if temperature is not None:
        scaled = tested.logits / temperature
        after, error_after = scaled.softmax(1).amax(1).numpy(), _calibration_error(scaled, tested.labels)
    return Calibration(before, error, source, CALIBRATION_BINS, after, error_after, temperature)


def _calibration_error(logits: Tensor, labels: Tensor) -> float:
    classes = logits.shape[1]
    if classes < 2:
        return 0.0
    return float(multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=CALIBRATION_BINS))


def _keep(model: str | Path, temperature: float | None, reject: Reject) -> str:
    """Keep a temperature, where there is one, and a reject threshold in a model's file; say whether that was done."""
    try:
        keep_calibration(find(model).path, temperature, reject)
    except (WeightsError, OutputError, OSError) as error:
        say(f"what was found on validation images could not be kept in the model's file: {error}", doubtful=True)
        return " It could not be kept in the model's file."
    return " It is kept in the model file, for moganet predict --calibrated." if temperature is not None else ""


def _compose(
    predictor: Predictor,
    dataset: Dataset,
    tested: _Measured,
    calibration: Calibration,
    *,
    fresh: list[Answers],
    explain: Explain | None,
    origin: Origin,
) -> Report:
    """Gather what the page shows. fresh: answers for images that were not trained on."""
    answers, names, album = tested.answers, predictor.class_names, Album()
    measured = measure(tested.logits, tested.labels, names)
    say_absent(measured["per_class"], answers.name)
    missing = (
        {} if origin.metrics else {"curves": "The curves are left out: the run's metrics are not beside the model."}
    )
    errors, hits = choose_errors(answers), choose_hits(answers)
    heats = _explain(predictor, answers, np.concatenate([errors, hits]), explain, missing)
    numbers = range(len(heats))
    shown_errors = show(answers, errors, names, album, numbers[: len(errors)])
    shown_hits = show(answers, hits, names, album, numbers[len(errors) :])
    doubtful, num_doubtful = _doubt(fresh, names, album, missing)
    images = examine_images(dataset, predictor.config.preprocessing.size, album)
    cells = fill_cells(answers, album)
    return Report(
        name=predictor.name_of_model,
        data=dataset.spec.partition(":")[0],
        split=answers.name,
        class_names=names,
        top1=measured["top1"],
        facts=[*figures(measured, calibration, predictor, tested.rate), *costs(predictor, origin.result)],
        per_class=measured["per_class"],
        confusion=np.array(measured["confusion"]),
        correct=answers.predicted == answers.labels,
        calibration=calibration,
        sheet=make_sheet(album.pictures(), SHEET_BYTES),
        heats=make_sheet(heats, HEAT_BYTES),
        metrics=origin.metrics,
        cells=cells,
        errors=shown_errors,
        hits=shown_hits,
        doubtful=doubtful,
        num_doubtful=num_doubtful,
        num_examined=sum(len(part.labels) for part in fresh),
        images=images,
        explained_by=EXPLAINED_BY if heats else "",
        recipe=origin.recipe,
        versions=versions(predictor),
        provenance=provenance(predictor, dataset),
        missing=missing | ({} if origin.recipe else {"recipe": "The model file says nothing of its recipe."}),
        note=_note(predictor, tested),
    )


def _explain(
    predictor: Predictor, answers: Answers, chosen: np.ndarray, explain: Explain | None, missing: dict[str, str]
) -> list[np.ndarray]:
    if explain is None:
        missing["explanation"] = "Explanations were not asked for."
        return []
    try:
        return explain_answers(predictor, answers, chosen, explain)
    except MogaNetError as error:
        missing["explanation"] = f"Explanations are left out: {error}."
        return []


def _doubt(
    fresh: list[Answers], names: Sequence[str], album: Album, missing: dict[str, str]
) -> tuple[list[Shown], int]:
    if not fresh:
        missing["labels"] = (
            "Suspected label errors are looked for on images that were not trained on, such as --split test."
        )
        return [], 0
    try:
        found = find_doubtful(fresh)
    except MogaNetError as error:
        missing["labels"] = f"{str(error)[0].upper()}{str(error)[1:]}."
        return [], 0
    shown = [show(fresh[part], [number], names, album)[0] for part, number in found[:MAX_DOUBTFUL]]
    return shown, len(found)


def _note(predictor: Predictor, tested: _Measured) -> str:
    notes = [] if predictor.trained else ["This network is untrained: its answers mean nothing yet."]
    if tested.unreadable:
        notes.append(f"{len(tested.unreadable)} files can't be read and count nowhere: {tested.unreadable[0].reason}.")
    return " ".join(notes)
