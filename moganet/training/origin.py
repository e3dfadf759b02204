"""How a model came to be, as its run's folder tells it: recipe, metrics and result."""

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from moganet.config import RECIPE_LIMIT, parse_yaml
from moganet.errors import DataError
from moganet.files import read_small
from moganet.models.provenance import without_places
from moganet.training.outcome import read_result
from moganet.training.run_folder import METRICS_FILE, RECIPE_FILE, RESULT_FILE

logger = logging.getLogger(__name__)
METRICS_LIMIT = 200_000_000  # bytes, of metrics.csv


@dataclass(frozen=True)
class Origin:
    """What is known of how a model came to be. metrics: as `read_metrics`; result: as result.json."""

    recipe: str = ""
    metrics: dict[str, dict[float, float]] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)


def read_origin(model: str | Path, provenance: Mapping[str, Any], result: Mapping[str, Any] | None) -> Origin:
    """Read what the run's folder holds, or what the model file says of its recipe.

    result: of a run that has not written it yet.
    """
    folder = Path(model) if Path(model).is_dir() else Path(model).parent
    recipe = provenance.get("recipe")
    text = yaml.safe_dump(without_places(recipe), sort_keys=False, allow_unicode=True) if recipe else ""
    if not text or not (folder / RECIPE_FILE).is_file():
        return Origin(text)
    try:
        said = parse_yaml(read_small(folder / RECIPE_FILE, RECIPE_LIMIT), RECIPE_FILE)
        if _apart_from_length(without_places(said)) != _apart_from_length(without_places(recipe)):
            return Origin(text)  # another run's
        metrics = read_metrics(folder / METRICS_FILE)
        metrics["lr"] = {epoch - 1: rate for epoch, rate in _read_learning_rate(folder / METRICS_FILE).items()}
        if result is None and (folder / RESULT_FILE).is_file():
            result = read_result(folder).plain()
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        logger.warning("the curves of %s are left out: %s", folder, error)
        return Origin(text)
    return Origin(text, metrics, result or {})


def _apart_from_length(recipe: Any) -> Any:
    """Give a recipe's values without the number of epochs, which may have grown since weights were kept as the best."""
    trainer = recipe.get("trainer") if isinstance(recipe, dict) else None
    if not isinstance(trainer, dict):
        return recipe
    return {**recipe, "trainer": {name: value for name, value in trainer.items() if name != "max_epochs"}}


def read_metrics(path: Path) -> dict[str, dict[float, float]]:
    """Read Lightning's metrics.csv into {metric: {epoch: value}}."""
    metrics: dict[str, dict[float, float]] = defaultdict(dict)
    for row in _rows(path):
        for name, value in row.items():
            if value and name not in ("epoch", "step") and row.get("epoch"):
                metrics[name][int(float(row["epoch"]))] = float(value)
    return dict(metrics)


def _read_learning_rate(path: Path) -> dict[float, float]:
    """Read the learning rate from Lightning's metrics.csv, which notes it by step, into {epochs done: rate}."""
    rates, ends = {}, {0: 0.0}
    for row in _rows(path):
        if not row.get("step"):
            continue
        step = int(float(row["step"]))
        if row.get("epoch"):
            ends[step + 1] = float(row["epoch"]) + 1
        rate = next((value for name, value in row.items() if name.startswith("lr") and value), None)
        if rate:
            rates[step] = float(rate)
    steps = sorted(ends)
    return {float(np.interp(step, steps, [ends[s] for s in steps])): rate for step, rate in sorted(rates.items())}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Read a table's rows. Raises DataError for a file that is none of a run's, ValueError for odd numbers in it."""
    try:
        for row in csv.DictReader(io.StringIO(read_small(path, METRICS_LIMIT), newline="")):
            yield {name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
    except csv.Error as error:
        raise DataError(f"{path} is no table of a run: {error}") from None
