"""`export`: a model as a file for another runtime, kept only where it gives what the model gives."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
from moganet.engine.evaluate import Progress, choose_split, no_progress, open_for
from moganet.errors import ConfigError, MogaNetError, OutputError, WeightsError
from moganet.inference import Predictor, load
from moganet.inference.export import EXPORTERS, ExportPrecision, Graph
from moganet.inference.export.graph import Run
from moganet.inference.export.verify import agreement, check, check_raw, tolerance_of
from moganet.inference.exported import load_exported
from moganet.inference.runtimes import has_fast_bf16
from moganet.network.fuse import fuse
from moganet.network.moganet import MogaNet
from moganet.notices import noted

logger = logging.getLogger(__name__)
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
    size: int | None = None,
    any_size: bool = False,
    data: str | None = None,
    limit: int = NUM_COMPARED,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write a model for another runtime, and keep the file only where it gives what the model gives.

    to: "onnx", "openvino" or "program" (torch's .pt2). out: the file [beside the model]. raw: preprocessing within the
    graph, from uint8 images (B, H, W, C) of any size to probabilities. size: height and width of the input, instead of
    the model's own; any_size leaves it open. data: a set to compare decisions on (up to `limit` images), and for int8
    to calibrate with; int8 takes the model's own set where none is given.
    Gives `out`, `bytes`, `deviation` and its `tolerance` (in standard deviations of the logits) and, with data,
    `agreement`, `top1` and `top1_before`. Raises ConfigError for what can't be exported so, WeightsError where the file
    differs by more than the tolerance: it is deleted then.
    """
    check_export(to, precision, raw=raw, size=size, any_size=any_size)
    source = model if isinstance(model, Predictor) else load(model, "eager")
    if not isinstance(source.model, MogaNet):
        raise ConfigError(f"{source.name_of_model} is no MogaNet, and only MogaNets are exported")
    target = Path(out) if out is not None else _default_out(source, EXPORTERS[to].SUFFIX, precision)
    if target.suffix.lower() != EXPORTERS[to].SUFFIX:
        raise OutputError(f"{target} does not end in {EXPORTERS[to].SUFFIX}, by which an export to {to} is known")
    graph = make_graph(source, to, precision, raw, None if any_size else size or source.config.preprocessing.size)
    images = open_images(source, data, limit) if data is not None or precision == "int8" else None
    if images is not None and precision == "int8":
        graph = _calibrated(graph, images)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-")
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror}; choose another --out") from None
    with folder:
        made = Path(folder.name) / target.name
        EXPORTERS[to].save(graph, made)
        found = verify_export(made, graph, source, images, progress)
        for part in sorted(Path(folder.name).iterdir()):  # .bin before .xml
            os.replace(part, target.parent / part.name)
    parts = {target, target.with_suffix(".bin")} if to == "openvino" else {target}
    return {
        "model": source.name_of_model,
        "out": str(target),
        "format": to,
        "precision": precision,
        "raw": raw,
        "size": list(graph.size) if graph.size else None,
        "bytes": sum(part.stat().st_size for part in parts),
        **found,
    }


def check_export(
    to: str, precision: str, *, raw: bool = False, size: int | None = None, any_size: bool = False
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


def make_graph(
    source: Predictor, to: str, precision: ExportPrecision, raw: bool, size: int | tuple[int, int] | None
) -> Graph:
    """Describe what is to be written; a size other than the model's own goes into the description."""
    description = source.config
    pair = (size, size) if isinstance(size, int) else size
    if pair is not None and pair != description.preprocessing.size:
        changed = description.preprocessing.model_copy(update={"size": pair})
        # The fixtures' logits were recorded at the model's own size.
        description = description.model_copy(update={"preprocessing": changed, "fixtures": ()})
    network = source.model
    assert isinstance(network, MogaNet)
    fused = fuse(network).to("cpu").to(memory_format=torch.contiguous_format)
    return Graph(fused, description, to, precision, raw=raw, size=pair)


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
    """Give preprocessed images (B, C, H, W) and the model's labels (B,); what can't be read is left out."""
    for batch in evaluation_loader(split, preprocessing, BATCH, 0):
        if len(batch.images):
            yield normalize(batch.images, preprocessing), labels[batch.labels]


def _calibrated(graph: Graph, images: Images) -> Graph:
    preprocessing = graph.description.preprocessing
    given = [x[None] for batch, _ in batches(images.calibration, images.labels, preprocessing) for x in batch]
    return Graph(
        graph.network,
        graph.description,
        graph.format,
        graph.precision,
        raw=graph.raw,
        size=graph.size,
        calibration=given,
    )


def verify_export(
    path: Path, graph: Graph, source: Predictor, images: Images | None, progress: Progress = no_progress
) -> dict[str, Any]:
    """Compare a written file with the plain network. Raises WeightsError beyond the tolerance."""
    tolerance, exported = tolerance_of(graph.precision, graph.raw), load_exported(path)
    preprocessing = graph.description.preprocessing
    size = graph.size or preprocessing.size
    if graph.raw:
        run = EXPORTERS[graph.format].load(path, graph.precision)
        found = check_raw(run, _plain(source), preprocessing, graph.description.temperature)
    else:
        # The model's own description, whose fixtures hold where the size is the model's own.
        probes = graph.calibration[:BATCH] if graph.precision == "int8" else ()
        real = torch.cat(list(probes)) if probes else None
        found = check(exported.logits, _plain(source), source.config, size, real)
    result: dict[str, Any] = {"deviation": found, "tolerance": tolerance.deviation}
    if not found <= tolerance.deviation:
        raise WeightsError(_failure(graph, f"its logits deviate by {found:.2g}, more than {tolerance.deviation:g}"))
    if images is None:
        return result
    given = exported.config.preprocessing
    network = _plain(source, preprocessing) if graph.raw else _plain(source)
    total = -(-len(images.compared) // BATCH)
    compared = agreement(
        exported.logits, network, progress(batches(images.compared, images.labels, given), total, "compare")
    )
    result |= {"num_images": int(compared.pop("images")), "least_agreement": tolerance.agreement, **compared}
    if compared["agreement"] < tolerance.agreement:
        share = f"it decides as the model on {100 * compared['agreement']:.1f} % of {result['num_images']} images"
        raise WeightsError(_failure(graph, f"{share}, fewer than {100 * tolerance.agreement:g} %"))
    return result


def _failure(graph: Graph, what: str) -> str:
    remedy = "use a higher --precision" if graph.precision != "f32" else "use another --to"
    return f"the export to {graph.format} in {graph.precision} was deleted: {what} of the tolerance; {remedy}"


def _plain(source: Predictor, before: Preprocessing | None = None) -> Run:
    """Give the plain network as a callable in f32; `before`: of images in 0..1, as a raw graph's are."""
    network, device = source.model, source.device

    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        if before is not None:
            x = preprocess((x * 255).round().to(torch.uint8), before)
        logits: Tensor = network(x.to(device, memory_format=torch.channels_last))
        return logits.float().cpu()

    return run


def _default_out(source: Predictor, suffix: str, precision: ExportPrecision) -> Path:
    """Name the file after the model: beside its file, in its run's folder, or here for a bare name."""
    path = Path(source.name_of_model)
    mark = "" if precision == "f32" else f"-{precision}"
    if path.is_dir():
        return path / f"best{mark}{suffix}"
    if path.is_file():
        return path.with_name(f"{path.name.partition('.')[0]}{mark}{suffix}")
    return Path(f"{path.name or 'model'}{mark}{suffix}")


@noted
def export_all(
    model: str | Path | Predictor,
    out: str | Path | None = None,
    *,
    data: str | None = None,
    limit: int = NUM_COMPARED,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Export to every format, and measure each against torch, in turns in one run.

    out: the folder [beside the model]. int8 is written where `data` is given, to be calibrated with. Gives `exports`:
    a row each with `name`, `bytes`, `deviation`, with data `agreement` and `top1`, `images_per_second` (the median of
    five rounds), and `out`; or `failed`, which says why there is no file.
    """
    source = model if isinstance(model, Predictor) else load(model, "eager")
    images = open_images(source, data, limit) if data is not None else None
    rows: list[dict[str, Any]] = []
    runs: dict[str, Run] = {"torch": _plain(source), "torch, fused": source.logits}
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
        target = None
        if out is not None:
            target = Path(out) / _default_out(source, EXPORTERS[to].SUFFIX, precision).name
        try:
            row |= export(source, to, target, precision=precision, data=data, limit=limit)
            runs[row["name"]] = load_exported(Path(row["out"])).logits
        except MogaNetError as error:
            row["failed"] = str(error)
    for name, rate in _rates(runs, source.config.preprocessing).items():
        next(row for row in rows if row["name"] == name)["images_per_second"] = rate
    size = list(source.config.preprocessing.size)
    return {"model": source.name_of_model, "size": size, "batch_size": BATCH, "exports": rows, "rounds": ROUNDS}


def _row_of_torch(name: str, run: Run, source: Predictor, images: Images | None) -> dict[str, Any]:
    plain, size = _plain(source), source.config.preprocessing.size
    row: dict[str, Any] = {"name": name, "deviation": check(run, plain, source.config, size)}
    if images is not None:
        given = batches(images.compared, images.labels, source.config.preprocessing)
        found = agreement(run, plain, given)
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
