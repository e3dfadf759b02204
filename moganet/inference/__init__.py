"""A trained model on disk, and one way to run any."""

from typing import TYPE_CHECKING

from moganet.importing import from_homes

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
_OURS = dict.fromkeys(("load_model_file", "save_model_file"), "moganet.models.formats.ours")
_HOMES = {
    **_OURS,
    "ModelDescription": "moganet.models.description",
    "Predictor": "moganet.inference.predictor",
    "Prediction": "moganet.tasks.classify.answers",
    "read_model": "moganet.models.open",
}
__getattr__ = from_homes(__name__, _HOMES)  # when a name is asked for: half of them need torch
