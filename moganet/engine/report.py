"""`report`: one self-contained page that shows a person how good a model is, and where it fails."""

import datetime
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.data import Dataset, FileSplit, Split
from moganet.data.preprocess import decode, normalize, resize_and_crop
from moganet.engine.doctor import environment
from moganet.engine.evaluate import (
    Progress,
    choose_split,
    collect_logits,
    default_batch,
    match_classes,
    no_progress,
    open_for,
)
from moganet.errors import DataError, OutputError
from moganet.explanations.input_gradients import input_gradients
from moganet.files import check_place
from moganet.inference import Predictor, load, load_model_file, save_model_file
from moganet.inference.runtimes import Runtime
from moganet.machine import keep_freed_memory
from moganet.models.build import build_network_for
from moganet.models.provenance import without_place, without_places
from moganet.models.read import find_model
from moganet.network.cost import count_macs, count_parameters
from moganet.notices import noted
from moganet.report.curves import curves_section
from moganet.report.heat import overlay
from moganet.report.images import images_section
from moganet.report.numbers import count, duration, short
from moganet.report.page import Fact, Page, write_page
from moganet.report.sheet import make_sheet
from moganet.tasks.classify.report import ACCURACY, compose, count_labels, name_label
from moganet.tasks.images import examine_images
from moganet.tasks.report import Answers, Seen
from moganet.training.origin import Origin, read_origin
from moganet.training.run_folder import REPORT_FILE

FRESH = ("test", "val")  # the splits of its own set that a model was not trained on
SHEET_BYTES, HEAT_BYTES = 3_300_000, 700_000  # of base64: the page stays below 5 MB
HEAT_SIDE = 96
SHORT = 2.0  # seconds, of which starting is a large part

# How errors and close calls are explained: (network, x (B, C, H, W), classes (B,)) -> maps (B, H, W), and its name.
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
EXPLAIN: Explain | None = input_gradients
EXPLAINED_BY = "averaged input gradients"


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
    place = Path(out) if out is not None else _default_page(model)
    if place.is_dir():
        raise OutputError(f"{place} is a folder; give --out the name of an HTML file, say {place / REPORT_FILE}")
    check_place(place, "--out")
    predictor = load(model, runtime, precision)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    dataset, is_home = open_for(predictor, data)
    how = (batch_size or default_batch(predictor), workers, progress)
    tested, validation = _see_splits(predictor, dataset, split, how)
    parts = [tested] if validation is None or validation is tested else [tested, validation]
    seen = Seen(
        answers=tested,
        validation=validation,
        fresh=[part for part in parts if part.name in FRESH or not (is_home or part.name == "train")],
        data=dataset.spec.partition(":")[0],
        class_names=predictor.class_names,
        temperature=predictor.config.temperature,
        keep=partial(keep_in_file, model) if is_home else None,
        explain=None if explain is None else partial(_explain, predictor, explain),
    )
    origin = read_origin(model, predictor.config.provenance, result)
    page, measured = _compose(predictor, dataset, seen, origin)
    write_page(page, place)
    return {
        "report": str(place),
        "bytes": place.stat().st_size,
        "seconds": time.perf_counter() - start,
        "data": dataset.spec,
        "split": tested.name,
        "num_images": len(tested),
        **measured,
        "left_out": [{"part": part, "reason": reason} for part, reason in page.left_out.items()],
        "unreadable": [bad._asdict() for bad in tested.unreadable],
        "untrained": not predictor.trained,
    }


def _default_page(model: str | Path) -> Path:
    path = Path(model)
    return path / REPORT_FILE if path.is_dir() else Path(f"{path.stem if path.is_file() else path.name}-{REPORT_FILE}")


def _see_splits(
    predictor: Predictor, dataset: Dataset, split: str, how: tuple[int, int | None, Progress]
) -> tuple[Answers, Answers | None]:
    """Let the network see a split and the images that were held back, where there are; they may be the same."""
    order = match_classes(dataset.class_names, predictor.class_names)
    name, images = choose_split(dataset, split)
    tested, held = _see(predictor, name, images, order, how), dataset.splits.get("val")
    if held is None or held is images:
        return tested, None if held is None else tested
    return tested, _see(predictor, "val", held, order, how)


def _see(
    predictor: Predictor, name: str, images: Split, order: Tensor, how: tuple[int, int | None, Progress]
) -> Answers:
    """Let the network see a split. Raises DataError where none of it can be read."""
    begin = time.perf_counter()
    logits, labels, unreadable = collect_logits(predictor, images, *how)
    seconds = time.perf_counter() - begin
    if not len(labels):
        reason = unreadable[0].reason if unreadable else "it has none"
        raise DataError(f"none of the {len(images)} images ({name}) can be read: {reason}")
    places, left_out = np.arange(len(images)), {bad.file for bad in unreadable}
    if isinstance(images, FileSplit):
        places = np.array([i for i, file in enumerate(images.files) if str(file) not in left_out])
    return Answers(name, images, places, logits, order[labels], seconds, unreadable)


def _compose(predictor: Predictor, dataset: Dataset, seen: Seen, origin: Origin) -> tuple[Page, dict[str, Any]]:
    """Gather what the page shows, and what of it the result holds."""
    tested, album, size = seen.answers, seen.album, predictor.config.preprocessing.size
    shown, said = examine_images(dataset, size, album, count_labels, name_label), compose(seen)
    page = Page(
        title=said.title,
        name=predictor.name_of_model,
        split=tested.name,
        facts=[*said.facts, _rate(predictor, tested), *_costs(predictor, origin.result)],
        sections=[curves_section(origin.metrics, ACCURACY), *said.sections, images_section(shown)],
        sheet=make_sheet(album.pictures(), SHEET_BYTES),
        heats=make_sheet(album.heats, HEAT_BYTES),
        explained_by=EXPLAINED_BY if album.heats else "",
        recipe=origin.recipe,
        versions=_versions(predictor),
        provenance=_provenance(predictor, dataset),
        note=_note(predictor, tested),
    )
    copies = [{"split": second, "in": first, "images": found} for (first, second), found in shown.copies.items()]
    return page, {**said.result, "copies": copies}


def keep_in_file(model: str | Path, found: Mapping[str, object]) -> None:
    """Let a model's file say what was found; its tensors stay bit for bit what they are."""
    path = find_model(model)[0]
    state, description = load_model_file(path)
    save_model_file(path, state, description.changed(**found))


def _explain(
    predictor: Predictor, explain: Explain, answers: Answers, chosen: np.ndarray, classes: np.ndarray
) -> list[np.ndarray]:
    """Draw where the network looked for each image's class, uint8 (side, side, 3)."""
    preprocessing = predictor.config.preprocessing
    images = [decode(answers.split[int(answers.places[i])].image, preprocessing.channels) for i in chosen]
    seen = torch.stack([resize_and_crop(image, preprocessing) for image in images])
    x, targets = normalize(seen, preprocessing).to(predictor.device), torch.from_numpy(classes)
    maps = explain(predictor.model, x, targets.to(predictor.device)).detach().float().cpu().numpy()
    colours = seen[:, :3] if preprocessing.channels >= 3 else seen[:, :1].expand(-1, 3, -1, -1)
    pixels = colours.permute(0, 2, 3, 1).numpy()
    return [overlay(np.ascontiguousarray(p), heat, HEAT_SIDE) for p, heat in zip(pixels, maps, strict=True)]


def _rate(predictor: Predictor, tested: Answers) -> Fact:
    how = f"reading included; {predictor.runtime}, {predictor.precision}"
    unsure = "; too short to tell" if tested.seconds < SHORT else ""
    return "Images per second", f"{len(tested) / max(tested.seconds, 1e-9):,.0f}", how + unsure


def _costs(predictor: Predictor, result: dict[str, Any]) -> list[Fact]:
    """Give what the network and its training cost; result as result.json has it."""
    config = predictor.config
    with torch.device("meta"):
        network = build_network_for(config.architecture)
    channels, (height, width) = config.preprocessing.channels, config.preprocessing.size
    macs = short(count_macs(network, channels, (height, width)))
    facts = [
        ("Parameters", short(count_parameters(network)), config.architecture.name),
        ("Multiply-adds", macs, f"an image of {width}×{height}"),
    ]
    if "seconds" in result:
        how = f"{count(result['epochs'], 'epoch')}, {result['images_per_second']:,.0f} images/s"
        facts.append(("Training", duration(float(result["seconds"])), how))
    return facts


def _versions(predictor: Predictor) -> dict[str, str]:
    """Give the versions here, and those that the model was trained with where they differ."""
    here = environment()
    now = {"python": here["python"], **{name: found for name, found in here["packages"].items() if found}}
    now["torch"] = torch.__version__
    trained = predictor.config.provenance.get("versions") or {}
    return {
        name: found if trained.get(name, found) == found else f"{found} (trained with {trained[name]})"
        for name, found in now.items()
    }


def _provenance(predictor: Predictor, dataset: Dataset) -> dict[str, str]:
    """Say which model it is, on which data it was trained, and where and when it was measured."""
    config = predictor.config
    on = torch.cuda.get_device_name() if predictor.device.type == "cuda" else count(os.cpu_count() or 1, "core")
    known = {
        "data": without_place(dataset.spec),
        "trained on": without_places(config.provenance.get("data"), "data"),
        "seed": config.provenance.get("seed"),
        "model": without_place(predictor.name_of_model),
        "sha256 of the tensors": config.sha256,
        "measured on": f"{on}, {count(torch.get_num_threads(), 'thread')}, {datetime.date.today().isoformat()}",
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _note(predictor: Predictor, tested: Answers) -> str:
    notes = [] if predictor.trained else ["This network is untrained: its answers mean nothing yet."]
    if tested.unreadable:
        notes.append(f"{len(tested.unreadable)} files can't be read and count nowhere: {tested.unreadable[0].reason}.")
    return " ".join(notes)
