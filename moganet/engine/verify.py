"""`verify`: whether a model file is what it was when it was written, and computes what it computed."""

from pathlib import Path
from typing import Any

import torch

from moganet.config import Precision
from moganet.errors import WeightsError
from moganet.inference import Predictor, read_model
from moganet.inference.export.verify import tolerance_of
from moganet.inference.exported import is_exported, read_metadata
from moganet.inference.load import load
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.models.build import build_from
from moganet.models.choices import Choices
from moganet.models.fixtures import replay_fixtures
from moganet.notices import noted
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
def verify(
    model: str | Path,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    tolerance: float | None = None,
    **choices: Any,
) -> Verified:
    """Check the hash of a model's tensors, or of an exported file, and replay its fixtures, which raw files have not.

    tolerance: the largest allowed deviation of a logit, relative to the largest recorded one (at least 1); None is
        1e-4, and what the export's precision may lose for an exported file. choices: as in `load`.
    Gives `ok`, `sha256`, `fixtures`, `max_deviation` (None without fixtures) and `limit`.
    Raises WeightsError where the file is damaged, or records nothing to check.
    """
    if is_exported(Path(model)):
        predictor = load(model, runtime, precision, **choices)
        if predictor.config.fixtures:
            return _replayed(model, predictor, None, tolerance or _of_export(Path(model), predictor))
        if (recorded := read_metadata(Path(model)).sha256) is None:
            raise WeightsError(f"{model} records neither a hash nor fixtures; export it again")
        return _replayed(model, predictor, recorded, tolerance or TOLERANCE)
    contents = read_model(model, Choices(**choices))
    description = contents.description
    if not (description.fixtures or description.sha256):
        what = f"{contents.path} ({contents.chosen.format}) records neither a hash nor fixtures"
        raise WeightsError(f"{what}; write it as a model file with `moganet convert`")
    network = build_from(contents)
    del contents  # what was read is copied by now
    predictor = open_predictor(network, description, runtime, precision)
    recorded = description.sha256 or None  # the port's files have one of their own, which was compared
    return _replayed(model, predictor, recorded, TOLERANCE if tolerance is None else tolerance)


def _of_export(path: Path, predictor: Predictor) -> float:
    """Give the tolerance by which the export was kept, relative to the largest recorded logit."""
    logits = torch.tensor([fixture.logits for fixture in predictor.config.fixtures])
    allowed = tolerance_of(read_metadata(path).precision, raw=False).deviation * logits.std().item()
    return allowed / max(1.0, logits.abs().max().item())


def _replayed(model: str | Path, predictor: Predictor, sha256: str | None, tolerance: float) -> Verified:
    fixtures = predictor.config.fixtures
    deviation = replay_fixtures(predictor.config, lambda x: predictor.outputs(x)["logits"]) if fixtures else None
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
