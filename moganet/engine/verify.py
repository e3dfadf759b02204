"""`verify`: whether a model file is what it was when it was written, and computes what it computed."""

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from moganet.config import Precision
from moganet.errors import WeightsError
from moganet.inference.exported import is_exported, read_metadata
from moganet.inference.load import as_predictor, load
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.inference.tolerance import tolerance_of
from moganet.models.choices import Choices
from moganet.models.description import MADE
from moganet.models.find import find, is_bare, untrained
from moganet.models.fixtures import replay_fixtures
from moganet.models.hub_folder import TENSORS
from moganet.models.reading.header import hash_tensors_of, is_safetensors
from moganet.notices import noted
from moganet.processors import threaded
from moganet.results import Result

TOLERANCE = 1e-4  # of the largest logit, or of 1; machines differ by rounding, about 1e-6


class Verified(Result):
    """What was checked: the hash of the tensors where one is recorded, and the fixtures that were replayed."""

    model: str
    ok: bool
    sha256: str | None
    fixtures: int
    max_deviation: float | None
    limit: float
    runtime: str
    precision: str


@noted
@threaded
def verify(
    model: str | Path | Predictor,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    tolerance: float | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Verified:
    """Check the hash of a model's tensors, or of an exported file, and replay its fixtures, which raw files have not.

    tolerance: the largest allowed deviation of a logit, relative to the largest recorded one (at least 1); None is
        1e-4, and what the export's precision may lose for an exported file. device, threads, choices: as in `load`.
        A Predictor's fixtures are replayed and, of one that `moganet.model` made, the hash of its tensors is compared.
    Gives `ok`, `sha256`, `fixtures`, `max_deviation` (None without fixtures) and `limit`.
    Raises WeightsError where the file is damaged, or records nothing to check.
    """
    if isinstance(model, Predictor):
        return _of_predictor(as_predictor(model, runtime, precision, device, **choices), tolerance)
    if is_exported(Path(model)):
        predictor = load(model, runtime, precision, device=device, **choices)
        if predictor.config.fixtures:
            return _replayed(model, predictor, None, tolerance or _of_export(Path(model), predictor))
        if (recorded := read_metadata(Path(model)).sha256) is None:
            raise WeightsError(f"{model} records neither a hash nor fixtures; export it again")
        return _replayed(model, predictor, recorded, tolerance or TOLERANCE)
    if is_bare(model):
        raise untrained(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is untrained")  # which is an error here
        predictor = load(model, runtime, precision, device=device, **choices)
    if not predictor.trained:
        raise untrained(model)
    recorded = predictor.config.sha256 or None  # the port's files have one of their own, which was compared
    if not (predictor.config.fixtures or recorded):
        what = f"{find(model).path} records neither a hash nor fixtures"
        raise WeightsError(f"{what}; write it as a model file with `moganet convert`")
    if recorded is not None and "torch" not in sys.modules:  # with torch the tensors were read, and compared, just now
        _compare(model, recorded, choices)
    return _replayed(model, predictor, recorded, TOLERANCE if tolerance is None else tolerance)


def _of_predictor(predictor: Predictor, tolerance: float | None) -> Verified:
    recorded = None  # of a file, whose tensors may be of another type than those that it was loaded to
    if predictor.has_module and MADE in predictor.config.provenance:
        recorded = predictor.config.sha256
        hashed = importlib.import_module("moganet.models.reading.checkpoint").hash_tensors
        if hashed(predictor.model.state_dict()) != recorded:
            raise WeightsError(f"the tensors of {predictor.name_of_model} were changed since it was made")
    if not (predictor.config.fixtures or recorded):
        raise WeightsError(f"{predictor.name_of_model} keeps no fixtures; verify the file that it was loaded from")
    return _replayed(predictor.name_of_model, predictor, recorded, TOLERANCE if tolerance is None else tolerance)


def _compare(model: str | Path, recorded: str, choices: dict[str, Any]) -> None:
    """Raise WeightsError where a file's tensors do not have the hash that was recorded."""
    path = find(model).path
    path = path / TENSORS if path.is_dir() else path
    if not is_safetensors(path):
        importlib.import_module("moganet.models.open").read_model(model, Choices(**choices))  # which compares
    elif hash_tensors_of(path) != recorded:
        said = "its tensors do not have the hash that was recorded; train or download it again"
        raise WeightsError(f"{path} is damaged: {said}")


def _of_export(path: Path, predictor: Predictor) -> float:
    """Give the tolerance by which the export was kept, relative to the largest recorded logit."""
    logits = np.array([fixture.logits for fixture in predictor.config.fixtures], np.float32)
    allowed = tolerance_of(read_metadata(path).precision, raw=False).deviation * float(logits.std(ddof=1))
    return allowed / max(1.0, float(np.abs(logits).max()))


def _replayed(model: str | Path, predictor: Predictor, sha256: str | None, tolerance: float) -> Verified:
    fixtures = predictor.config.fixtures
    deviation = replay_fixtures(predictor.config, predictor.ask) if fixtures else None
    limit = tolerance * max([1.0, *(abs(logit) for fixture in fixtures for logit in fixture.logits)])
    return Verified(
        model=str(model),
        ok=deviation is None or deviation <= limit,
        sha256=sha256,
        fixtures=len(fixtures),
        max_deviation=deviation,
        limit=limit,
        runtime=predictor.runtime,
        precision=predictor.precision,
    )
