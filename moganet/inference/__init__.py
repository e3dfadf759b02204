"""A trained model on disk, and one way to run any."""

from moganet.inference.load import list_models, load
from moganet.inference.model_file import ModelDescription, load_model_file, save_model_file
from moganet.inference.predictor import Prediction, Predictor

__all__ = [
    "ModelDescription",
    "Prediction",
    "Predictor",
    "list_models",
    "load",
    "load_model_file",
    "save_model_file",
]
