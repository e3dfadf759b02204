"""How a model came to be, as its run's folder tells it: recipe, metrics and result."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moganet.config import RECIPE_LIMIT, parse_yaml
from moganet.files import read_small
from moganet.models.provenance import without_places
from moganet.training.epoch_rows import read_rows
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
    """Read metrics.csv into {metric: {epoch from 0: value}}; "lr" is the rate of the first group of parameters.

    Raises DataError for a file that is none of a run's, ValueError for odd numbers in it.
    """
    metrics: dict[str, dict[float, float]] = defaultdict(dict)
    for epoch, row in read_rows(read_small(path, METRICS_LIMIT)).items():
        rate = next((value for name, value in row.items() if name.startswith("lr")), "")
        for name, value in {**row, "lr": rate}.items():
            if value and name != "step":
                metrics[name][epoch - 1] = float(value)
    return dict(metrics)
