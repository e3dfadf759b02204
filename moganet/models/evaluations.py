"""What was measured of a model: by `moganet evaluate`, found beside its weights, or as published; without torch."""

import json
from pathlib import Path
from typing import Any

from moganet.files import read_small
from moganet.models.description import ModelDescription
from moganet.network.releases import PUBLISHED, Published
from moganet.notices import say
from moganet.tasks import TASKS

MAX_EVALUATION = 200 << 20  # bytes; it lists the images that can't be read
FIGURES = {"num_images", "data", "split"}


def evaluations_of(model: str | Path, description: ModelDescription) -> list[dict[str, Any]]:
    """Give what `moganet evaluate` measured in a run's folder of just these tensors."""
    if not Path(model).is_dir():
        return []
    found = []
    for path in sorted(Path(model).glob("evaluation-*/evaluation.json")):
        try:
            measured = json.loads(read_small(path, MAX_EVALUATION))
        except (OSError, ValueError, RecursionError):
            say(f"{path} can't be read, so that its figures are not in the card", doubtful=True)
            continue
        if _is_of(measured, description):
            found.append(measured)
    return found


def release_of(provenance: dict[str, Any]) -> Published | None:
    """Give the release that a file is, by its name, where nothing of it was changed."""
    file = None if "changed" in provenance else provenance.get("file")
    return next((release for release in PUBLISHED.values() if release.file == file), None)


def _is_of(measured: Any, description: ModelDescription) -> bool:
    """Tell whether a file of `evaluate` is of just these tensors, and has what a card shows."""
    if not isinstance(measured, dict) or measured.get("sha256") != description.sha256 or not measured.keys() >= FIGURES:
        return False
    if measured.get("tta") is not None:  # of the model's answers to several views of an image
        return False
    return TASKS[description.task.name].say(measured) is not None
