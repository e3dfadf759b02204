"""A trained model on disk, and one way to run any."""

from moganet.inference.load import list_models, load
from moganet.inference.predictor import Predictor
from moganet.models.description import ModelDescription
from moganet.models.find import read_model
from moganet.models.formats.ours import load_model_file, save_model_file
from moganet.tasks.classify.answers import Prediction

__all__ = [
    "ModelDescription",
    "Prediction",
    "Predictor",
    "list_models",
    "load",
    "load_model_file",
    "read_model",
    "save_model_file",
]
