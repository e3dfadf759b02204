"""The figures and the origin of a model, as a report shows them: what it measured, costs, and where it comes from."""

import datetime
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from moganet.config import RECIPE_LIMIT, parse_yaml
from moganet.data import Dataset
from moganet.engine.doctor import environment
from moganet.files import read_small
from moganet.inference import Predictor
from moganet.models.build import build_blank
from moganet.models.provenance import RECIPE, without_place, without_places
from moganet.network.cost import count_macs, count_parameters
from moganet.report.curves import read_learning_rate, read_metrics
from moganet.report.findings import percent, short
from moganet.report.page import Calibration

logger = logging.getLogger(__name__)
SHORT = 2.0  # seconds, of which starting is a large part
Fact = tuple[str, str, str]  # label, value, note


@dataclass(frozen=True)
class Origin:
    """What is known of how a model came to be. metrics: as `read_metrics`; result: as result.json."""

    recipe: str = ""
    metrics: dict[str, dict[Any, float]] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


def read_origin(model: str | Path, predictor: Predictor, result: dict[str, Any] | None) -> Origin:
    """Read what the run's folder holds, or what the model file says of its recipe."""
    folder = Path(model) if Path(model).is_dir() else Path(model).parent
    recipe = predictor.config.provenance.get("recipe")
    text = yaml.safe_dump(without_places(recipe), sort_keys=False, allow_unicode=True) if recipe else ""
    if not text or not (folder / RECIPE).is_file():
        return Origin(text)
    try:
        if without_places(parse_yaml(read_small(folder / RECIPE, RECIPE_LIMIT), RECIPE)) != without_places(recipe):
            return Origin(text)  # another run's
        metrics: dict[str, dict[Any, float]] = dict(read_metrics(folder / "metrics.csv"))
        metrics["lr"] = {epoch - 1: rate for epoch, rate in read_learning_rate(folder / "metrics.csv").items()}
        if result is None and (folder / "result.json").is_file():
            result = json.loads(read_small(folder / "result.json", 100_000_000))
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        logger.warning("the curves of %s are left out: %s", folder, error)
        return Origin(text)
    return Origin(text, metrics, result or {})


def figures(measured: dict[str, Any], calibration: Calibration, predictor: Predictor, rate: float) -> list[Fact]:
    """Give what was measured; measured as `evaluate` has it, rate in images per second."""
    low, high = measured["interval"]
    number = len(calibration.before)
    after = f"{percent(measured['ece_by_chance'])} by chance alone"
    if calibration.error_after is not None:
        after = f"{percent(calibration.error_after)} at temperature {calibration.temperature:.2f}, {after}"
    interval = f"of {_count(number, 'image')}, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
    facts = [("Accuracy", percent(measured["top1"]), interval)]
    if len(predictor.class_names) > 5:
        facts.append(("Among the best five", percent(measured["top5"]), "top-5 accuracy"))
    how = f"reading included; {predictor.runtime}, {predictor.precision}"
    if number / max(rate, 1e-9) < SHORT:
        how += "; too short to tell"
    return [
        *facts,
        ("Cross-entropy", f"{measured['loss']:.3f}", "the loss, without smoothing"),
        ("Calibration error", percent(calibration.error_before), after),
        ("Images per second", f"{rate:,.0f}", how),
    ]


def costs(predictor: Predictor, result: dict[str, Any]) -> list[Fact]:
    """Give what the network and its training cost; result as result.json has it."""
    config = predictor.config
    network = build_blank(config.architecture)
    channels, (height, width) = config.preprocessing.channels, config.preprocessing.size
    facts = [
        ("Parameters", short(count_parameters(network)), config.architecture.name),
        ("Multiply-adds", short(count_macs(network, channels, (height, width))), f"an image of {width}×{height}"),
    ]
    if "seconds" in result:
        spent = _duration(float(result["seconds"]))
        facts.append(
            ("Training", spent, f"{_count(result['epochs'], 'epoch')}, {result['images_per_second']:,.0f} images/s")
        )
    return facts


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 10 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def versions(predictor: Predictor) -> dict[str, str]:
    """Give the versions here, and those that the model was trained with where they differ."""
    here = environment()
    now = {"python": here["python"], **{name: found for name, found in here["packages"].items() if found}}
    now["torch"] = torch.__version__
    trained = predictor.config.provenance.get("versions") or {}
    return {
        name: found if trained.get(name, found) == found else f"{found} (trained with {trained[name]})"
        for name, found in now.items()
    }


def provenance(predictor: Predictor, dataset: Dataset) -> dict[str, str]:
    """Say which model it is, on which data it was trained, and where and when it was measured."""
    config = predictor.config
    on = torch.cuda.get_device_name() if predictor.device.type == "cuda" else _count(os.cpu_count() or 1, "core")
    known = {
        "data": without_place(dataset.spec),
        "trained on": without_places(config.provenance.get("data"), "data"),
        "seed": config.provenance.get("seed"),
        "model": without_place(predictor.name_of_model),
        "sha256 of the tensors": config.sha256,
        "measured on": f"{on}, {_count(torch.get_num_threads(), 'thread')}, {datetime.date.today().isoformat()}",
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}
