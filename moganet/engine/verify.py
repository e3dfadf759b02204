"""`verify`: whether a model file is what it was when it was written, and computes what it computed."""

from pathlib import Path
from typing import Any

from moganet.config import Precision
from moganet.errors import WeightsError
from moganet.inference import Predictor, read_model
from moganet.inference.load import build_from
from moganet.inference.model_file import replay_fixtures
from moganet.inference.predictor import Runtime

TOLERANCE = 1e-4  # of the largest logit, or of 1; machines differ by rounding, about 1e-6
RECORDED = ("model file", "hub folder")  # the formats that record a hash


def verify(
    model: str | Path, runtime: Runtime = "auto", precision: Precision = "f32", tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Check the hash of a model's tensors and replay its fixtures.

    tolerance: the largest allowed deviation of a logit, relative to the largest recorded one (at least 1).
    Gives `ok`, `sha256`, `fixtures`, `max_deviation` (None without fixtures) and `limit`.
    Raises WeightsError where the file is damaged, or records nothing to check.
    """
    contents = read_model(model)
    description = contents.description
    if contents.chosen["format"] not in RECORDED:
        raise WeightsError(
            f"{contents.path} ({contents.chosen['format']}) records neither a hash nor fixtures; "
            "write it as a model file with `moganet convert`"
        )
    network = build_from(contents)
    del contents  # what was read is copied by now
    predictor = Predictor(network, description, runtime, precision)
    deviation = replay_fixtures(description, predictor.logits) if description.fixtures else None
    limit = tolerance * max([1.0, *(abs(logit) for fixture in description.fixtures for logit in fixture.logits)])
    return {
        "model": str(model),
        "ok": deviation is None or deviation <= limit,
        "sha256": description.sha256,
        "fixtures": len(description.fixtures),
        "max_deviation": deviation,
        "limit": limit,
        "runtime": predictor.runtime,
        "precision": predictor.precision,
    }
