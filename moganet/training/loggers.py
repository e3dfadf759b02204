"""Lightning's loggers by name: where a run's figures go, beside metrics.csv."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from moganet.errors import MissingExtraError
from moganet.training.epoch_table import EpochTable
from moganet.training.run_folder import METRICS_FILE

# The class, and what to install for it.
LOGGERS = {
    "csv": ("", ""),  # our own table of epochs, which every run has
    "tensorboard": ("TensorBoardLogger", "tensorboard"),
    "wandb": ("WandbLogger", "wandb"),
    "mlflow": ("MLFlowLogger", "mlflow"),
    "comet": ("CometLogger", "comet-ml"),
    "neptune": ("NeptuneLogger", "neptune"),
}


def make_logger(name: str, folder: Path, purge_step: int | None) -> Logger:
    """Make a logger. purge_step: the step from which on TensorBoard drops what was written before a stop."""
    if name == "csv":
        return EpochTable(folder / METRICS_FILE)
    kind, package = LOGGERS[name]
    database = f"sqlite:///{folder}/mlflow.db"
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"save_dir": folder, "name": "", "version": "tensorboard", "purge_step": purge_step},
        "wandb": {"save_dir": folder, "project": "moganet", "name": folder.name},
        "mlflow": {"experiment_name": "moganet", "run_name": folder.name, "tracking_uri": database},
        "comet": {"project": "moganet", "name": folder.name},
        "neptune": {"name": folder.name},
    }
    make: Callable[..., Logger] = getattr(pl.loggers, kind)
    try:
        return make(**options[name])
    except ImportError:
        what = f"the logger {name!r} needs a package that is not installed"
        raise MissingExtraError(f"{what}: pip install {package}") from None
