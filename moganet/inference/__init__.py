"""A trained model on disk, and one way to run any."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moganet.inference.predictor import Predictor
    from moganet.models.description import ModelDescription
    from moganet.models.formats.ours import load_model_file, save_model_file
    from moganet.models.open import read_model
    from moganet.tasks.classify.answers import Prediction

__all__ = [
    "ModelDescription",
    "Prediction",
    "Predictor",
    "load_model_file",
    "read_model",
    "save_model_file",
]
_HOMES = {
    **dict.fromkeys(("load_model_file", "save_model_file"), "models.formats.ours"),
    "ModelDescription": "models.description",
    "Predictor": "inference.predictor",
    "Prediction": "tasks.classify.answers",
    "read_model": "models.open",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: half of them need torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"moganet.{_HOMES[name]}"), name)
