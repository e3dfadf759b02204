"""`export`: a model as a file for another runtime, kept only where it gives what the model gives."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from torch import Tensor

from moganet.config import Preprocessing
from moganet.data import Split
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import normalize, preprocess
from moganet.data.source import spread
from moganet.engine.evaluate import choose_split, open_for
from moganet.engine.export_form import Form, beside, check_free, default_out
from moganet.errors import ConfigError, DataError, MogaNetError, OutputError, WeightsError
from moganet.inference import Predictor
from moganet.inference.export import EXPORTERS, ExportPrecision, Graph
from moganet.inference.export.graph import Run
from moganet.inference.export.verify import agreement, check, check_raw, tolerance_of
from moganet.inference.exported import load_exported, read_metadata
from moganet.inference.load import as_predictor
from moganet.machine import has_fast_bf16
from moganet.network.fuse import fuse
from moganet.network.moganet import MogaNet
from moganet.notices import noted, say
from moganet.progress import Progress, no_progress

NUM_CALIBRATION, NUM_COMPARED, BATCH, ROUNDS = 128, 1000, 32, 5
HALF_TYPES = ("bf16", "f16")
NEEDS_UNITS = ("program",)  # formats that compute in the half type itself, which is hopeless without units for it


@dataclass(frozen=True)
class Images:
    """Labelled images to compare decisions on, and others to calibrate with.

    labels: the model's index for each of the data set's classes, -1 for one that it does not know.
    """

    compared: Split
    calibration: Split
    labels: Tensor


@noted
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
    data: str | None = None,
    limit: int = NUM_COMPARED,
    overwrite: bool = False,
    progress: Progress = no_progress,
    **choices: Any,
) -> dict[str, Any]:
    """Write a model for another runtime, and keep the file only where it gives what the model gives.

    to: "onnx", "openvino" or "program" (torch's .pt2). out: the file [beside the model]. raw: preprocessing within the
    graph, from uint8 images (B, H, W, C) of any size to probabilities: those that the model gives, or with `calibrated`
    those that its temperature scales. size: height and width of the input, instead of
    the model's own; any_size leaves it open. data: a set to compare decisions on (up to `limit` images), and for int8
    to calibrate with; int8 takes the model's own set where none is given. overwrite: let a file beside the model be
    replaced that is not this model in this form; a file that `out` names is replaced anyway. choices: as in `load`.
    Gives `out`, `bytes`, `deviation` and its `tolerance` (in standard deviations of the logits) and, with data,
    `agreement`, `top1` and `top1_before`. Raises ConfigError for what can't be exported so, WeightsError where the file
    differs by more than the tolerance: it is deleted then.
    """
    check_export(to, precision, raw=raw, calibrated=calibrated, size=size, any_size=any_size)
    source = as_predictor(model, "eager", **choices)
    if not isinstance(source.model, MogaNet):
        raise ConfigError(f"{source.name_of_model} is no MogaNet, and only MogaNets are exported")
    form = Form(to, precision, raw=raw, calibrated=calibrated, size=size, any_size=any_size)
    graph = make_graph(source, form)
    target = Path(os.path.realpath(out)) if out is not None else Path(default_out(source, form))
    # OpenVINO writes by the very ending.
    if (target.suffix if to == "openvino" else target.suffix.lower()) != EXPORTERS[to].SUFFIX:
        raise OutputError(f"{target} does not end in {EXPORTERS[to].SUFFIX}, by which an export to {to} is known")
    if not overwrite:
        check_free(target, graph, named=out is not None)
    images = open_images(source, data, limit) if data is not None or precision == "int8" else None
    if images is not None and precision == "int8":
        graph = _calibrated(graph, images)
    with beside(target) as made:
        EXPORTERS[to].save(graph, made)
        found = verify_export(made, graph, source, images, progress)
        for part in sorted(made.parent.iterdir()):  # .bin before .xml
            os.replace(part, target.parent / part.name)
    parts = {target, target.with_suffix(".bin")} if to == "openvino" else {target}
    return {
        "model": source.name_of_model,
        "out": str(out or target),
        "format": to,
        "precision": precision,
        "raw": raw,
        "calibrated": calibrated,
        "size": list(graph.size) if graph.size else None,
        "bytes": sum(part.stat().st_size for part in parts),
        **found,
    }


def check_export(
    to: str,
    precision: str,
    *,
    raw: bool = False,
    calibrated: bool = False,
    size: int | None = None,
    any_size: bool = False,
) -> None:
    """Raise ConfigError for a format or a precision that does not exist, or settings that exclude each other."""
    if to not in EXPORTERS:
        raise ConfigError(f"there is no format {to!r} to export to; choose one of {', '.join(EXPORTERS)}")
    if precision not in get_args(ExportPrecision):
        raise ConfigError(f"there is no precision {precision!r}; choose one of {', '.join(get_args(ExportPrecision))}")
    if precision not in EXPORTERS[to].PRECISIONS:
        others = [name for name, exporter in EXPORTERS.items() if precision in exporter.PRECISIONS]
        raise ConfigError(
            f"{to} is not exported in {precision}, but in {', '.join(EXPORTERS[to].PRECISIONS)}; "
            f"for {precision} use --to {' or '.join(others)}"
        )
    if size is not None and size < 1:
        raise ConfigError(f"the size is {size}; it must be at least 1 pixel")
    if any_size and (size is not None or raw):
        raise ConfigError("--any-size leaves the network's input open: leave --size and --raw out")
    if calibrated and not raw:
        raise ConfigError("--calibrated is for --raw: other files give logits, and `predict --calibrated` scales them")


def make_graph(source: Predictor, form: Form) -> Graph:
    """Describe what is to be written; a size other than the model's own goes into the description.

    Raises ConfigError where calibrated probabilities are asked of a model that keeps no temperature.
    """
    description = source.config
    if form.calibrated:
        source.probabilities(torch.zeros(1, len(source.class_names)), calibrated=True)
    own = description.preprocessing.size
    pair = None if form.any_size else own if form.size is None else (form.size, form.size)
    if pair is not None and pair != own:
        changed = description.preprocessing.changed(size=pair)
        # The fixtures' logits were recorded at the model's own size.
        description = description.changed(preprocessing=changed, fixtures=())
    network = source.model
    assert isinstance(network, MogaNet)
    fused = fuse(network).to("cpu").to(memory_format=torch.contiguous_format)
    return Graph(fused, description, form.to, form.precision, raw=form.raw, calibrated=form.calibrated, size=pair)


def open_images(source: Predictor, data: str | None, limit: int) -> Images:
    """Open a set to compare on; it is calibrated with its training images, where there are some."""
    dataset, _ = open_for(source, data)
    _, compared = choose_split(dataset, "test")
    calibration = dataset.splits.get("train", compared)
    known = source.class_names
    labels = torch.tensor([known.index(name) if name in known else -1 for name in dataset.class_names])
    return Images(
        compared.subset(spread(len(compared), limit)),
        calibration.subset(spread(len(calibration), NUM_CALIBRATION)),
        labels,
    )


def batches(split: Split, labels: Tensor, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, Tensor]]:
    """Give preprocessed images (B, C, H, W) and the model's labels (B,); what can't be read is said."""
    unreadable: list[str] = []
    for batch in evaluation_loader(split, preprocessing, BATCH, 0):
        unreadable += [bad.reason for bad in batch.unreadable]
        if len(batch.images):
            yield normalize(batch.images, preprocessing), labels[batch.targets]
    _say_left_out(unreadable, len(split))


def whole_images(split: Split, labels: Tensor, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, Tensor]]:
    """Give images as they are, uint8 (1, C, H, W), and the model's labels (1,); what can't be read is said."""
    split = split.with_channels(preprocessing.channels)
    unreadable: list[str] = []
    for index in range(len(split)):
        try:
            sample = split[index]
        except DataError as error:
            unreadable.append(str(error))
            continue
        yield sample.image[None], labels[sample.target][None]
    _say_left_out(unreadable, len(split))


def _say_left_out(reasons: list[str], total: int) -> None:
    if reasons:
        say(f"left out: {len(reasons)} of {total} images can't be read; the first: {reasons[0]}")


def _calibrated(graph: Graph, images: Images) -> Graph:
    preprocessing = graph.description.preprocessing
    given = [x[None] for batch, _ in batches(images.calibration, images.labels, preprocessing) for x in batch]
    return replace(graph, calibration=given)


def verify_export(
    path: Path, graph: Graph, source: Predictor, images: Images | None, progress: Progress = no_progress
) -> dict[str, Any]:
    """Compare a written file with the plain network. Raises WeightsError beyond the tolerance."""
    tolerance, network = tolerance_of(graph.precision, graph.raw), plain(source)
    preprocessing = graph.description.preprocessing
    if graph.raw:
        read_metadata(path)
        run = EXPORTERS[graph.format].load(path, graph.precision)
        found = check_raw(run, network, preprocessing, graph.temperature)
    else:
        run = load_exported(path).logits
        # The model's own description, whose fixtures hold where the size is the model's own.
        probes = graph.calibration[:BATCH] if graph.precision == "int8" else ()
        real = torch.cat(list(probes)) if probes else None
        found = check(run, network, source.config, graph.size or preprocessing.size, real)
    result: dict[str, Any] = {"deviation": found, "tolerance": tolerance.deviation}
    if not found <= tolerance.deviation:
        raise WeightsError(_failure(graph, f"its logits deviate by {found:.2g}, more than {tolerance.deviation:g}"))
    if images is None:
        return result
    if graph.raw:  # whole images, as they will be given; the network is given what preprocessing makes of them
        given, total = whole_images(images.compared, images.labels, preprocessing), len(images.compared)
        compared = agreement(
            lambda x: run(x.permute(0, 2, 3, 1).contiguous()),
            lambda x: network(preprocess(x, preprocessing)),
            progress(given, total, "compare"),
        )
    else:
        given, total = batches(images.compared, images.labels, preprocessing), -(-len(images.compared) // BATCH)
        compared = agreement(run, network, progress(given, total, "compare"))
    result |= {"num_images": int(compared.pop("images")), "least_agreement": tolerance.agreement, **compared}
    if compared["agreement"] < tolerance.agreement:
        share = f"it decides as the model on {100 * compared['agreement']:.1f} % of {result['num_images']} images"
        raise WeightsError(_failure(graph, f"{share}, fewer than {100 * tolerance.agreement:g} %"))
    return result


def _failure(graph: Graph, what: str) -> str:
    remedy = "use a higher --precision" if graph.precision != "f32" else "use another --to"
    return f"the export to {graph.format} in {graph.precision} was deleted: {what} of the tolerance; {remedy}"


def plain(source: Predictor) -> Run:
    """Give the plain network as a callable in f32."""
    network, device = source.model, source.device

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        logits: Tensor = network(x.to(device, memory_format=torch.channels_last))
        return logits.float().cpu()

    return run


@noted
def export_all(
    model: str | Path | Predictor,
    out: str | Path | None = None,
    *,
    data: str | None = None,
    limit: int = NUM_COMPARED,
    overwrite: bool = False,
    progress: Progress = no_progress,
    **choices: Any,
) -> dict[str, Any]:
    """Export to every format, and measure each against torch, in turns in one run.

    out: the folder [beside the model]. overwrite: let files be replaced that are another model, or another form of it
    (`failed` says which, else). choices: as in `load`. int8 is written where `data` is given, to be calibrated with.
    Gives `exports`: a row each with `name`, `bytes`, `deviation`, with data `agreement` and `top1`, `images_per_second`
    (the median of five rounds), and `out`; or `failed`, which says why there is no file.
    """
    source = as_predictor(model, "eager", **choices)
    images = open_images(source, data, limit) if data is not None else None
    rows: list[dict[str, Any]] = []
    runs: dict[str, Run] = {"torch": plain(source), "torch, fused": source.logits}
    for name, run in runs.items():
        rows.append(_row_of_torch(name, run, source, images))
    forms = [(to, precision) for to, exporter in EXPORTERS.items() for precision in exporter.PRECISIONS]
    for to, precision in progress(forms, len(forms), "export"):
        row: dict[str, Any] = {"name": f"{to} {precision}"}
        rows.append(row)
        if precision == "int8" and data is None:
            row["failed"] = "int8 needs --data SOURCE[:PATH] to be calibrated with"
            continue
        if precision in HALF_TYPES and to in NEEDS_UNITS and not has_fast_bf16(torch.device("cpu")):
            row["failed"] = "this processor has no units for it; export it by name for one that has"
            continue
        try:
            form = Form(to, precision)
            target = Path(out) / default_out(source, form).name if out is not None else None
            if target is not None and not overwrite:
                check_free(target, make_graph(source, form), named=False)
            row |= export(source, to, target, precision=precision, data=data, limit=limit, overwrite=overwrite)
            runs[row["name"]] = load_exported(Path(row["out"])).logits
        except MogaNetError as error:
            row["failed"] = str(error)
    for name, rate in _rates(runs, source.config.preprocessing).items():
        next(row for row in rows if row["name"] == name)["images_per_second"] = rate
    size = list(source.config.preprocessing.size)
    return {"model": source.name_of_model, "size": size, "batch_size": BATCH, "exports": rows, "rounds": ROUNDS}


def _row_of_torch(name: str, run: Run, source: Predictor, images: Images | None) -> dict[str, Any]:
    network, size = plain(source), source.config.preprocessing.size
    row: dict[str, Any] = {"name": name, "deviation": check(run, network, source.config, size)}
    if images is not None:
        given = batches(images.compared, images.labels, source.config.preprocessing)
        found = agreement(run, network, given)
        row |= {"num_images": int(found.pop("images")), **found}
    return row


def _rates(runs: dict[str, Run], preprocessing: Preprocessing) -> dict[str, float]:
    """Time the runtimes in turns on one batch; give the median images/s of each."""
    x = torch.randn(BATCH, preprocessing.channels, *preprocessing.size)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            if turn:  # the first round is not measured
                times[name].append(time.perf_counter() - start)
    return {name: BATCH / median(taken) for name, taken in times.items()}
