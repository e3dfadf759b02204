"""`report`: one self-contained page that shows a person how good a model is, and where it fails."""

import copy
import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from moganet.config import Precision
from moganet.data import Dataset
from moganet.data.preprocess import normalize
from moganet.engine.doctor import environment
from moganet.errors import ConfigError, first_line
from moganet.explanations.gradients import input_gradients
from moganet.files import check_place
from moganet.inference import Predictor, load_model_file, save_model_file
from moganet.inference.guarding import make_guard
from moganet.inference.load import as_predictor
from moganet.inference.own_data import choose_split, open_for, say_absent
from moganet.inference.runtimes import Runtime
from moganet.inference.seeing import How, see
from moganet.machine import num_cores
from moganet.models.build import build_blank
from moganet.models.find import find
from moganet.models.provenance import without_place, without_places
from moganet.network.cost import count_macs, count_parameters
from moganet.notices import noted, say
from moganet.numbers import count, duration, short
from moganet.processors import num_threads, threaded
from moganet.progress import Progress, no_progress
from moganet.report.curves import curves_section
from moganet.report.heat import overlay
from moganet.report.images import Images, images_section
from moganet.report.page import Fact, Page, make_sheet, write_page
from moganet.results import LeftOut, Record, Result
from moganet.tasks.data_map import draw_map
from moganet.tasks.images import examine_images
from moganet.tasks.report import Answers, Reported, Seen
from moganet.tasks.task import TaskDescription
from moganet.training.again import how_again
from moganet.training.origin import Origin, read_origin
from moganet.training.run_folder import REPORT_FILE

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

FRESH = ("test", "val")  # the splits of its own set that a model was not trained on
SHEET_BYTES, HEAT_BYTES = 3_300_000, 700_000  # of base64: the page stays below 5 MB
HEAT_SIDE = 96
SHORT = 2.0  # seconds, of which starting is a large part

# How errors and close calls are explained: (network, x (B, C, H, W), classes (B,)) -> maps (B, H, W), and its name.
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
EXPLAIN: Explain | None = input_gradients
EXPLAINED_BY = "averaged input gradients"


class LeftOutPart(Record):
    """A part of the page that is left out, and why."""

    part: str
    reason: str


class ReportResult(Result, extra="allow"):
    """What a report says in short, and where it lies; its task adds figures of its own."""

    report: str
    bytes: int
    seconds: float
    data: str
    split: str
    num_images: int
    headline: str
    copies: tuple[Mapping[str, str | int], ...]
    left_out: tuple[LeftOutPart, ...]
    unreadable: tuple[LeftOut, ...]
    untrained: bool
    __pydantic_extra__: dict[str, float | int | None]


@noted
@threaded
def write_report(
    model: str | Path | Predictor,
    data: "Data | None" = None,
    split: str = "test",
    *,
    class_names: "ClassNames | None" = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    explain: Explain | None = EXPLAIN,
    progress: Progress = no_progress,
    result: Mapping[str, Any] | None = None,
    **choices: Any,
) -> ReportResult:
    """Write a page on a model: what it gets right and wrong, on which images, and what those images are like.

    model, data, split, class_names: as in `evaluate`. device, threads, choices: as in `load`. What is fitted on
    validation images (a temperature) is kept in the model file where it keeps none, for `predict(calibrated=True)`.
    out: the HTML file; the default is report.html in a run's folder, else NAME-report.html here.
    explain: shows where the network looked; None leaves that out. result: of a run that has not written it yet.
    Gives `report` (the file), `bytes`, `seconds`, what was measured, and `left_out` ({"part", "reason"}). A part whose
    package is not installed is left out and says so. Raises DataError, WeightsError or OutputError.
    """
    start = time.perf_counter()
    file = None if isinstance(model, Predictor) or choices else model  # which is told what is found
    place = Path(out) if out is not None else _default_page(model, in_run=file is not None and Path(file).is_dir())
    check_place(place, "--out")
    predictor = as_predictor(model, runtime, precision, device, **choices)
    dataset, is_home = open_for(predictor, data, class_names)
    predictor.task.check(dataset, training=False)
    if is_home and file is not None and predictor.config.task.guard is None:
        predictor.config = predictor.config.changed(task=keep_guard(file, predictor, dataset, workers))
    tested, validation = _see_splits(predictor, dataset, split, (batch_size, workers, progress))
    parts = [tested] if validation is None or validation is tested else [tested, validation]
    seen = Seen(
        answers=tested,
        validation=validation,
        fresh=[part for part in parts if part.name in FRESH or not (is_home or part.name == "train")],
        data=_name_of(dataset.spec),
        description=predictor.config.task,
        keep=partial(keep_in_file, file) if is_home and file is not None else None,
        explain=None if explain is None else partial(_explain, predictor, explain),
        again=partial(_ask_again, predictor),
    )
    origin = read_origin(predictor.name_of_model, predictor.config.provenance, result)
    page, said, shown = _compose(predictor, dataset, seen, origin)
    write_page(page, place)
    return ReportResult(
        report=str(place),
        bytes=place.stat().st_size,
        seconds=time.perf_counter() - start,
        data=dataset.spec,
        split=tested.name,
        num_images=len(tested),
        headline=said.headline,
        left_out=tuple(LeftOutPart(part=part, reason=reason) for part, reason in page.left_out.items()),
        unreadable=tuple(tested.unreadable),
        copies=tuple({"split": after, "in": first, "images": n} for (first, after), n in shown.copies.items()),
        untrained=not predictor.trained,
        **said.result,
    )


def _name_of(spec: str) -> str:
    """Give a set its name in a sentence: its folder's or file's, or that of a source without one."""
    source, _, place = without_place(spec).partition("?")[0].partition(":")
    return place or source


def _default_page(model: str | Path | Predictor, *, in_run: bool) -> Path:
    path = Path(model.name_of_model if isinstance(model, Predictor) else model)
    return path / REPORT_FILE if in_run else Path(f"{path.stem if path.is_file() else path.name}-{REPORT_FILE}")


def _see_splits(predictor: Predictor, dataset: Dataset, split: str, how: How) -> tuple[Answers, Answers | None]:
    """Let the network see a split and the images that were held back, where there are; they may be the same."""
    name, images = choose_split(dataset, split)
    held = dataset.splits.get("val")
    tested = see(predictor, dataset, (name, images), how)
    say_absent(images.with_targets(tested.split.targets), predictor.class_names, name)
    if held is None or held is images:
        return tested, None if held is None else tested
    return tested, see(predictor, dataset, ("val", held), how)


def _compose(predictor: Predictor, dataset: Dataset, seen: Seen, origin: Origin) -> tuple[Page, Reported, Images]:
    tested, album, size = seen.answers, seen.album, predictor.config.preprocessing.size
    shown, said = examine_images(dataset, size, album), predictor.task.report(seen)
    page = Page(
        title=said.title,
        name=predictor.name_of_model,
        split=tested.name,
        facts=[*said.facts, _rate(predictor, tested), *_costs(predictor, origin.result)],
        sections=[
            curves_section(origin.metrics, predictor.task.monitor),
            *said.sections,
            images_section(shown),
            draw_map(seen.parts, predictor.class_names),
        ],
        sheet=make_sheet(album.pictures(), SHEET_BYTES),
        heats=make_sheet(album.heats, HEAT_BYTES),
        explained_by=EXPLAINED_BY if album.heats else "",
        recipe=origin.recipe,
        again=how_again(predictor.config.provenance, predictor.class_names),
        versions=_versions(predictor),
        provenance=_provenance(predictor, dataset),
        note=_note(predictor, tested),
    )
    return page, said, shown


def keep_in_file(model: str | Path, task: TaskDescription) -> None:
    """Let a model's file say what was found of its task; its tensors stay bit for bit what they are."""
    path = find(model).path
    state, description = load_model_file(path)
    save_model_file(path, state, description.changed(task=task))


def keep_guard(
    model: str | Path, predictor: Predictor, dataset: Dataset, workers: int | None = None
) -> TaskDescription:
    """Make what tells images unlike those trained on, of a model's own data set, and keep it in the model's file.

    Nothing is kept where too few images were held back. What goes wrong is said: what was trained is worth more.
    Gives what the file says of its task then.
    """
    task = predictor.config.task
    if not {"train", "val"} <= dataset.splits.keys() or not predictor.task.guards:
        return task
    try:
        guard = make_guard(predictor, dataset.split("train"), dataset.split("val"), workers)
        if guard is None:
            return task
        keep_in_file(model, task.changed(guard=guard))
        return task.changed(guard=guard)
    except Exception as error:  # whatever it is: a run of days must not be lost to it
        say(f"what tells images unlike the training images was not kept: {first_line(error)}", doubtful=True)
        return task


def _explain(
    predictor: Predictor, explain: Explain, answers: Answers, chosen: np.ndarray, classes: np.ndarray
) -> list[np.ndarray]:
    """Draw where the network looked for each image's class, uint8 (side, side, 3)."""
    preprocessing = predictor.config.preprocessing
    seen = torch.stack([predictor.picture(answers.split[int(answers.places[i])].image) for i in chosen])
    x, targets = normalize(seen, preprocessing).to(predictor.device), torch.from_numpy(classes)
    maps = explain(predictor.model, x, targets.to(predictor.device)).detach().float().cpu().numpy()
    colours = seen[:, :3] if preprocessing.channels >= 3 else seen[:, :1].expand(-1, 3, -1, -1)
    pixels = colours.permute(0, 2, 3, 1).numpy()
    return [overlay(np.ascontiguousarray(p), heat, HEAT_SIDE) for p, heat in zip(pixels, maps, strict=True)]


def _ask_again(predictor: Predictor, answers: Answers, numbers: Sequence[int]) -> Iterator[tuple[Tensor, Any, Any]]:
    """Give images of answers, their targets, and what a task answers that sees them one by one."""
    split = answers.split.with_channels(predictor.config.preprocessing.channels)
    for number in numbers:
        sample = split[int(answers.places[number])]
        boxes = answers.split.targets.boxes(int(answers.places[number]))
        (answer,) = predictor.answers(predictor.see(sample.image.numpy(), boxes))
        yield sample.image, sample.target, answer


def _rate(predictor: Predictor, tested: Answers) -> Fact:
    how = f"reading included; {predictor.runtime}, {predictor.precision}"
    unsure = "; too short to tell" if tested.seconds < SHORT else ""
    return "Images per second", f"{len(tested) / max(tested.seconds, 1e-9):,.0f}", how + unsure


def _costs(predictor: Predictor, result: Mapping[str, Any]) -> list[Fact]:
    """Give what the network and its training cost; result as result.json has it."""
    config = predictor.config
    facts: list[Fact] = []
    try:
        network = copy.deepcopy(predictor.model) if config.is_own else build_blank(config.architecture)
        channels, (height, width) = config.preprocessing.channels, config.preprocessing.size
        facts.append(("Parameters", short(count_parameters(network)), config.architecture.name))
        facts.append(
            ("Multiply-adds", short(count_macs(network, channels, (height, width))), f"an image of {width}×{height}")
        )
    except ConfigError as error:  # an export of a network that only its caller can build, or one that can't be counted
        say(f"what the network costs is left out: {error}")
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
    other = {name: f" (trained with {trained[name]})" for name in now if trained.get(name, now[name]) != now[name]}
    return {name: found + other.get(name, "") for name, found in now.items()}


def _provenance(predictor: Predictor, dataset: Dataset) -> dict[str, str]:
    """Say which model it is, on which data it was trained, and where and when it was measured."""
    config = predictor.config
    on = count(num_cores(), "core")
    if predictor.device.type != "cpu":
        on = torch.cuda.get_device_name(predictor.device) if predictor.device.type == "cuda" else predictor.device
    known = {
        "data": without_place(dataset.spec),
        "trained on": without_places(config.provenance.get("data"), "data"),
        "seed": config.provenance.get("seed"),
        "model": without_place(predictor.name_of_model),
        "sha256 of the tensors": config.sha256,
        "measured on": f"{on}, {count(num_threads(), 'thread')}, {datetime.date.today().isoformat()}",
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _note(predictor: Predictor, tested: Answers) -> str:
    notes = [] if predictor.trained else ["This network is untrained: its answers mean nothing yet."]
    if tested.unreadable:
        notes.append(f"{len(tested.unreadable)} files can't be read and count nowhere: {tested.unreadable[0].reason}.")
    return " ".join(notes)
