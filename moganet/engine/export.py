"""`export`: a model as a file for another runtime, kept only where it gives what the model gives."""

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moganet.config import Preprocessing
from moganet.errors import ConfigError, MogaNetError, WeightsError
from moganet.inference import Predictor
from moganet.inference.eager import EagerRun
from moganet.inference.export import EXPORTERS, ExportPrecision, Graph, repository
from moganet.inference.export.comparison import BATCH, NUM_COMPARED, Comparison, compare, open_comparison
from moganet.inference.export.form import REPOSITORY, Form, beside, check_free, checked, default_out, place_for
from moganet.inference.export.verify import Reference, check, check_raw
from moganet.inference.exported import load_exported, read_metadata
from moganet.inference.load import as_predictor
from moganet.inference.runs import Run
from moganet.inference.tolerance import tolerance_of
from moganet.machine import has_fast_bf16, in_turns
from moganet.network.fuse import fastest
from moganet.notices import noted, say
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import Record, Result
from moganet.tasks.records import Table
from moganet.tasks.task import Asked

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

Known = tuple[Reference, Comparison | None]  # the network to compare with, and the images where there are some
ROUNDS = 5
NEED_UNITS = (("program", "bf16"), ("program", "f16"))  # computed in the half type itself: hopeless without its units


class Exported(Result, extra="allow"):
    """A file that was written, and how near it comes to its model; its task adds its first figure, before and after."""

    model: str
    out: str
    format: str
    precision: str
    raw: bool
    calibrated: bool
    size: tuple[int, int] | None
    bytes: int
    deviation: float
    tolerance: float
    num_images: int | None = None
    least_agreement: float | None = None
    agreement: float | None = None
    metric: str | None = None
    __pydantic_extra__: dict[str, float]

    def lines(self) -> Iterator[str]:
        """Say the result, a line each."""
        yield f"written to {self.out} ({self.bytes / 1e6:.1f} MB)"
        yield f"largest deviation {self.deviation:.2g} of the logits' spread (tolerance {self.tolerance:g})"
        if self.agreement is not None:
            yield f"decides as the model on {100 * self.agreement:.2f} % of {self.num_images} images"
        for name, after in (self.__pydantic_extra__ or {}).items():
            if f"{name}_before" in self:
                yield f"{self.metric} {100 * after:.2f} %, the model {100 * self[f'{name}_before']:.2f} %"


class Compared(Record, extra="allow"):
    """One form among others: `failed` says why there is no file."""

    name: str
    failed: str | None = None
    deviation: float | None = None
    images_per_second: float | None = None
    __pydantic_extra__: dict[str, Any]

    def cells(self, numbers: int) -> tuple[str, ...]:
        """Give the cells of a table's row."""
        if self.failed is not None:
            return self.name, *[""] * numbers, self.failed
        figure = next((self[name] for name in self if f"{name}_before" in self), None)
        shares = [f"{100 * share:.2f} %" if share is not None else "" for share in (self.get("agreement"), figure)]
        size = f"{self['bytes'] / 1e6:.1f}" if "bytes" in self else ""
        return self.name, size, f"{self.deviation:.2g}", *shares, f"{self.images_per_second:.1f}", self.get("out", "")


class Exports(Result):
    """Every format against torch, measured in turns."""

    model: str
    size: tuple[int, int]
    batch_size: int
    exports: tuple[Compared, ...]
    rounds: int
    metric: str

    def table(self) -> Table:
        """Give a row for each form."""
        numbers = ("MB", "deviation", "agreement", self.metric, "images/s")
        return Table(("format", *numbers, "file"), [row.cells(len(numbers)) for row in self.exports], numbers)

    def lines(self) -> Iterator[str]:
        """Say how it was measured."""
        height, width = self.size
        how = f"images/s for {self.batch_size} images of {height}x{width} at a time"
        yield f"{how}; deviation in standard deviations"


@noted
@threaded
def export(
    model: str | Path | Predictor,
    to: str,
    out: str | Path | None = None,
    *,
    precision: ExportPrecision = "f32",
    raw: bool = False,
    calibrated: bool = False,
    size: int | None = None,
    any_size: bool = False,
    data: "Data | None" = None,
    class_names: "ClassNames | None" = None,
    limit: int = NUM_COMPARED,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Exported:
    """Write a model for another runtime, and keep the file only where it gives what the model gives.

    to: "onnx", "openvino", "program" (torch's .pt2), "executorch" (.pte), or "repository": a folder from which OpenVINO
    Model Server and Triton start, of OpenVINO's file (raw where images are made of one size) and what these ask for
    beside it; other models in it stay. out: the file, or that folder [beside the model]. raw: preprocessing within the
    graph, from uint8 images (B, H, W, C) of any size to probabilities: those that the model gives, or with `calibrated`
    those that its temperature scales; executorch has none. size: height and width of the input, instead of the model's
    own; any_size leaves it open, but for executorch. data: a set to compare decisions on (up to `limit` images), and
    for int8 to calibrate with; int8 takes the model's own set where none is given. class_names: as in `evaluate`.
    overwrite: let a file beside the model, or one in a repository, be replaced that is not this model in this form; a
    file that `out` names is replaced anyway. device (of what it is compared with), threads, choices: as in `load`.
    Gives `out`, `bytes`, `deviation` and its `tolerance` (in standard deviations of the logits) and, with data,
    `agreement` and the first figure of its task, after and `_before`. Raises ConfigError for what can't be exported so,
    WeightsError where the file differs by more than the tolerance: it is deleted then.
    """
    form = Form(to, precision, raw=raw, calibrated=calibrated, size=size, any_size=any_size)
    in_repository = to == REPOSITORY
    form = checked(repository.form_within(form) if in_repository else form)
    source = as_predictor(model, "eager", device=device, **choices)
    if in_repository and not (raw or source.config.preprocessing.one_size):
        form = checked(replace(form, raw=False))
    graph = make_graph(source, form)
    place = repository.place_for if in_repository else place_for
    target = place(source, form, Path(out) if out is not None else None)
    if not overwrite:
        check_free(target, graph, named=out is not None and not in_repository)
    images = None
    if data is not None or precision == "int8":
        images = open_comparison(source, data, limit, graph.description.preprocessing, class_names)
    known = _plain(source), images
    if in_repository:
        made = _export_within(source, graph, target, known, progress)
        return made if out is None else made.changed(out=str(Path(out) / Path(made.out).name))
    return _export(source, graph, target, known, progress).changed(out=str(out or target))


def _export_within(source: Predictor, graph: Graph, target: Path, known: Known, progress: Progress) -> Exported:
    """Write a model's whole folder beside the place where it shall lie, and put it there and into the servers' list."""
    own = target.parent.parent
    with beside(own) as made:
        found = _export(source, graph, made / target.relative_to(own), known, progress)
        repository.complete(made, graph)
        repository.put(made, own)
    repository.enter(own, graph.precision)
    return found.changed(out=str(own), format=REPOSITORY)


def _export(source: Predictor, graph: Graph, target: Path, known: Known, progress: Progress) -> Exported:
    """Write a file beside the place where it shall lie, and move it there when it is found right."""
    if known[1] is not None and graph.precision == "int8":
        graph = replace(graph, calibration=known[1].calibration)
    with beside(target) as made:
        EXPORTERS[graph.format].save(graph, made)
        found = _verify(made, graph, source, known, progress)
        for part in sorted(made.parent.iterdir()):  # .bin before .xml
            os.replace(part, target.parent / part.name)
    parts = {target, target.with_suffix(".bin")} if graph.format == "openvino" else {target}
    return Exported(
        model=source.name_of_model,
        out=str(target),
        format=graph.format,
        precision=graph.precision,
        raw=graph.raw,
        calibrated=graph.calibrated,
        size=graph.size,
        bytes=sum(part.stat().st_size for part in parts),
        **found,
    )


def make_graph(source: Predictor, form: Form) -> Graph:
    """Describe what is to be written; a size other than the model's own goes into the description.

    Raises ConfigError where calibrated probabilities are asked of a model that keeps no temperature.
    """
    description = source.config
    if form.calibrated:
        source.answers({"logits": np.zeros((1, len(source.class_names)), np.float32)}, Asked(calibrated=True))
    one_size, own = description.preprocessing.one_size, description.preprocessing.size
    if form.raw and not one_size:
        but = "but this model's images have sizes of their own"
        raise ConfigError(f"--raw makes images of one size within the graph, {but}; leave --raw out")
    any_size = form.any_size or (form.size is None and not one_size)
    pair = None if any_size else own if form.size is None else (form.size, form.size)
    if pair is not None and (pair != own or not one_size):
        changed = description.preprocessing.changed(size=pair)
        if not one_size:
            changed = changed.changed(crop_mode="squash", multiple=1)
            say(f"each image is squashed to the {pair[0]}x{pair[1]} of the file; leave --size out for any size")
        if description.task != description.task.unguarded():
            say(f"what tells images unlike the training images was found at {own[0]}x{own[1]} pixels: it is left out")
        # The fixtures' logits were recorded at the model's own size.
        description = description.changed(preprocessing=changed, fixtures=(), task=description.task.unguarded())
    fused = fastest(source.model)
    fused = copy.deepcopy(fused) if fused is source.model else fused  # which goes on answering where it is
    fused = fused.to("cpu").to(memory_format=torch.contiguous_format)
    return Graph(fused, description, form.to, form.precision, raw=form.raw, calibrated=form.calibrated, size=pair)


def _verify(path: Path, graph: Graph, source: Predictor, known: Known, progress: Progress) -> dict[str, Any]:
    """Compare a written file with the plain network. Raises WeightsError beyond the tolerance."""
    tolerance, (reference, images) = tolerance_of(graph.precision, graph.raw), known
    if graph.raw:
        read_metadata(path)
        run = EXPORTERS[graph.format].load(path, graph.precision, graph.outputs)
        found = check_raw(run, reference, graph.description, graph.temperature)
    else:
        run = load_exported(path).ask
        real = images.probes() if images is not None and graph.precision == "int8" else None
        # The model's own description, whose fixtures hold where the size is the model's own.
        own = (
            source.config if graph.description.preprocessing.one_size == source.config.preprocessing.one_size else None
        )
        found = check(run, reference, own or graph.description, graph.size or source.config.preprocessing.size, real)
    result: dict[str, Any] = {"deviation": found, "tolerance": tolerance.deviation}
    if not found <= tolerance.deviation:
        raise WeightsError(_failure(graph, f"its logits deviate by {found:.2g}, more than {tolerance.deviation:g}"))
    if images is None:
        return result
    compared = compare(run, graph, images, reference, progress)
    result |= {"least_agreement": tolerance.agreement, "metric": source.task.monitor.short, **compared}
    if compared["agreement"] < tolerance.agreement:
        share = f"it decides as the model on {100 * compared['agreement']:.1f} % of {compared['num_images']} images"
        raise WeightsError(_failure(graph, f"{share}, fewer than {100 * tolerance.agreement:g} %"))
    return result


def _failure(graph: Graph, what: str) -> str:
    remedy = "use a higher --precision" if graph.precision != "f32" else "use another --to"
    return f"the export to {graph.format} in {graph.precision} was deleted: {what} of the tolerance; {remedy}"


def _plain(source: Predictor) -> Reference:
    run = EagerRun(source.model, "f32", source.task.outputs, form=lambda network: network)
    return Reference(run)


@noted
@threaded
def export_all(
    model: str | Path | Predictor,
    out: str | Path | None = None,
    *,
    data: "Data | None" = None,
    class_names: "ClassNames | None" = None,
    limit: int = NUM_COMPARED,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
    **choices: Any,
) -> Exports:
    """Export to every format, and measure each against torch, in turns in one run.

    out: the folder [beside the model]. overwrite: let files be replaced that are another model, or another form of it
    (`failed` says which, else). int8 is written where `data` is given, to be calibrated with.
    device (of torch alone), threads, choices: as in `load`.
    Gives `exports`: a row each with `name`, `bytes`, `deviation`, with data `agreement` and the task's first figure,
    `images_per_second` (the median of five rounds), and `out`; or `failed`, which says why there is no file.
    """
    source = as_predictor(model, "eager", device=device, **choices)
    own = source.config.preprocessing
    images = open_comparison(source, data, limit, own, class_names) if data is not None else None
    known = _plain(source), images
    runs: dict[str, Run] = {"torch": known[0].run, "torch, fused": source.ask}
    rows = {name: _row_of_torch(run, source, known) for name, run in runs.items()}
    forms = [Form(to, precision) for to, exporter in EXPORTERS.items() for precision in exporter.PRECISIONS]
    for form in progress(forms, len(forms), "export"):
        name = f"{form.to} {form.precision}"
        try:
            made = _one_of_all(source, form, known, None if out is None else Path(out), overwrite)
            rows[name] = {key: value for key, value in made.items() if key not in ("model", "notes")}
            runs[name] = load_exported(Path(made.out)).ask
        except MogaNetError as error:
            rows[name] = {"failed": str(error)}
    for name, rate in _rates(runs, source.config.preprocessing).items():
        rows[name]["images_per_second"] = rate
    return Exports(
        model=source.name_of_model,
        size=source.config.preprocessing.size,
        batch_size=BATCH,
        exports=tuple(Compared(name=name, **row) for name, row in rows.items()),
        rounds=ROUNDS,
        metric=source.task.monitor.short,
    )


def _one_of_all(source: Predictor, form: Form, known: Known, folder: Path | None, overwrite: bool) -> Exported:
    if form.precision == "int8" and known[1] is None:
        raise ConfigError("int8 needs --data SOURCE[:PATH] to be calibrated with")
    if (form.to, form.precision) in NEED_UNITS and not has_fast_bf16("cpu"):
        raise ConfigError("this processor has no units for it; export it by name for one that has")
    own, graph = default_out(source, form), make_graph(source, form)
    target = own if folder is None else folder / own.name
    if not overwrite:
        check_free(target, graph, named=False)
    return _export(source, graph, target, known, no_progress)


def _row_of_torch(run: Run, source: Predictor, known: Known) -> dict[str, Any]:
    (reference, images), size = known, source.config.preprocessing.size
    row: dict[str, Any] = {"deviation": check(run, reference, source.config, size)}
    if images is not None:
        row |= compare(run, make_graph(source, Form("onnx")), images, reference, no_progress)
    return row


def _rates(runs: dict[str, Run], preprocessing: Preprocessing) -> dict[str, float]:
    """Time the runtimes in turns on one batch; give the median images/s of each."""
    x = torch.randn(BATCH, preprocessing.channels, *preprocessing.size).numpy()
    times = in_turns([partial(run, x) for run in runs.values()], ROUNDS)
    return {name: BATCH / median(taken) for name, taken in zip(runs, times, strict=True)}
