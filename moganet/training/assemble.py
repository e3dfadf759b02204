"""From a recipe and a data set to the objects of a run; all that can be wrong with a setting is said here."""

import difflib
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy
from timm.optim import list_optimizers
from torch import Tensor, nn

from moganet.compat import restart_within_epochs
from moganet.config import Recipe
from moganet.data import Dataset
from moganet.data.module import ImageDataModule, class_weights
from moganet.errors import ConfigError, MissingExtraError, MogaNetError
from moganet.inference import load
from moganet.launchers import by_slurm, by_torchrun, launched, refuse_without_srun
from moganet.machine import has_fast_bf16
from moganet.models.build import build_network_for
from moganet.network import full_name
from moganet.network.moganet import MogaNet
from moganet.tasks.classify.training import Classification, build_optimizer
from moganet.training.callbacks import average_weights
from moganet.training.checkpoints import PROCESSES_WAIT
from moganet.training.start import choose_start, load_teacher, start_from

logger = logging.getLogger(__name__)
MOST_PROCESSES_A_CORE = 4
LIGHTNING_PRECISION: dict[str, Any] = {"f32": "32-true", "bf16": "bf16-mixed", "f16": "16-mixed"}
# Lightning's loggers by name: the class, and what to install for it.
LOGGERS = {
    "csv": ("CSVLogger", ""),
    "tensorboard": ("TensorBoardLogger", "tensorboard"),
    "wandb": ("WandbLogger", "wandb"),
    "mlflow": ("MLFlowLogger", "mlflow"),
    "comet": ("CometLogger", "comet-ml"),
    "neptune": ("NeptuneLogger", "neptune"),
}


def resolve(recipe: Recipe, dataset: Dataset, resumed: Recipe | None = None) -> Recipe:
    """Fill in what a recipe leaves to the data, to the weights that it starts from, and to the launcher.

    resumed: the resolved recipe of a run that goes on; it knows already what its starting weights said.
    Raises ConfigError where the recipe says otherwise than they do.
    """
    classes, channels = len(dataset.class_names), recipe.preprocessing.channels
    if recipe.network.num_classes not in (None, classes):
        raise ConfigError(
            f"network.num_classes is {recipe.network.num_classes}, but {dataset.spec} has {classes}; leave it out"
        )
    if recipe.network.in_chans not in (None, channels):
        raise ConfigError(
            f"network.in_chans is {recipe.network.in_chans}, but preprocessing.channels is {channels}; "
            "set only the latter"
        )
    refuse_without_srun()
    recipe = choose_start(recipe, resumed)
    _check_choices(recipe)
    changes: dict[str, Any] = {"data": recipe.data.changed(source=dataset.spec)}
    architecture = recipe.network.changed(name=full_name(recipe.network.name))
    if recipe.start.model is not None:
        if resumed is not None and resumed.start.model == recipe.start.model:
            started, preprocessed = resumed.network, resumed.preprocessing
        else:
            config = load(recipe.start.model).config
            started, preprocessed = config.architecture, config.preprocessing
        own = {"drop_rate": recipe.network.drop_rate, "drop_path_rate": recipe.network.drop_path_rate}
        architecture = started.changed(**own)
        channels = preprocessed.channels
        kept = {name: getattr(preprocessed, name) for name in ("channels", "mean", "std")}
        changes["preprocessing"] = recipe.preprocessing.changed(**kept)
    devices, num_nodes = launched() or _asked_processes(recipe)
    loop = {"devices": devices, "num_nodes": num_nodes, "precision": _precision(recipe, resumed)}
    changes["trainer"] = recipe.trainer.changed(**loop)
    changes["network"] = architecture.changed(num_classes=classes, in_chans=channels)
    return recipe.changed(**changes)


def _asked_processes(recipe: Recipe) -> tuple[int, int]:
    """Give the processes that a recipe asks for without a launcher. Raises ConfigError where they would never come."""
    devices, num_nodes = recipe.trainer.devices or 1, recipe.trainer.num_nodes or 1
    if num_nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"trainer.num_nodes is {num_nodes}, but nothing says where the others are; start this with torchrun or srun"
        )
    most = MOST_PROCESSES_A_CORE * (os.cpu_count() or 1)
    if devices > most:
        raise ConfigError(
            f"trainer.devices is {devices}, but this machine has {os.cpu_count()} cores; use {most} at most"
        )
    return devices, num_nodes


def _precision(recipe: Recipe, resumed: Recipe | None) -> str:
    """Choose "auto" by the device, unless a run that goes on has chosen before. Raises ConfigError for f16 on a CPU."""
    precision = recipe.trainer.precision
    on_cpu = recipe.trainer.accelerator == "cpu" or not torch.cuda.is_available()
    if precision == "auto" and resumed is not None:
        precision = resumed.trainer.precision
    elif precision == "auto":
        precision = "bf16" if has_fast_bf16(torch.device("cpu" if on_cpu else "cuda")) else "f32"
    if precision == "f16" and on_cpu:
        raise ConfigError("trainer.precision f16 needs a GPU; use bf16 or f32 here")
    return precision


def _check_choices(recipe: Recipe) -> None:
    name = recipe.optimizer.name
    if name not in list_optimizers():
        near = difflib.get_close_matches(name, list_optimizers(), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.optim.list_optimizers() lists them"
        raise ConfigError(f"there is no optimizer {name!r}; {hint}")
    for name in recipe.logger:
        if name not in LOGGERS:
            raise ConfigError(f"there is no logger {name!r}; choose one of {', '.join(LOGGERS)}")


def build_task(recipe: Recipe, dataset: Dataset, *, resumed: bool = False) -> Classification:
    """Build network, loss and optimizer of a resolved recipe. Raises ConfigError for what does not exist.

    resumed: a checkpoint will fill the network; the weights that the run started from are not needed.
    """
    network = build_network_for(recipe.network)
    assert isinstance(network, MogaNet)
    if recipe.start.model is not None and not resumed:
        start_from(network, load(recipe.start.model), dataset.class_names)
    network.set_grad_checkpointing(recipe.trainer.grad_checkpointing)
    if recipe.trainer.channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = recipe.optimizer
    if optimizer.lr_per is not None:
        optimizer = optimizer.changed(lr=optimizer.lr * recipe.images_a_step / optimizer.lr_per)
    task = Classification(
        network,
        len(dataset.class_names),
        recipe.loss,
        optimizer,
        recipe.schedule,
        class_weights=_class_weights(recipe, dataset),
        teacher=load_teacher(recipe, dataset),
        frozen=_frozen(network, recipe.start.freeze),
    )
    try:
        build_optimizer(network, optimizer)
    except Exception as error:  # timm's and torch's optimizers raise of many kinds
        raise ConfigError(f"optimizer {optimizer.name} can't be made with these settings: {error}") from None
    if recipe.trainer.compile:
        network.compile()
    return task


def _frozen(network: nn.Module, stages: int) -> list[nn.Module]:
    parts = ("patch_embed", "blocks", "norm")
    return [network.get_submodule(f"{part}{i}") for i in range(1, stages + 1) for part in parts]


def _class_weights(recipe: Recipe, dataset: Dataset) -> Tensor | None:
    given, classes = recipe.loss.class_weights, len(dataset.class_names)
    if given is None:
        return None
    if given == "balanced":
        return class_weights(dataset.split("train").labels, classes)
    if len(given) != classes:
        raise ConfigError(f"loss.class_weights has {len(given)} values, but {dataset.spec} has {classes} classes")
    return torch.tensor(given, dtype=torch.float32)


def build_trainer(
    recipe: Recipe, folder: Path, callbacks: list[Callback], *, purge_step: int | None = None
) -> pl.Trainer:
    """Build Lightning's Trainer. Raises ConfigError for a device or a logger that is not there.

    purge_step: the step from which on TensorBoard drops what a run wrote before it was stopped.
    """
    settings = recipe.trainer
    if settings.early_stop is not None:
        callbacks = [*callbacks, EarlyStopping("val/top1", mode="max", patience=settings.early_stop, strict=False)]
    if settings.ema is not None:
        callbacks = [*callbacks, average_weights(settings.ema)]
    options = {
        "max_epochs": settings.max_epochs,
        "max_steps": settings.max_steps or -1,
        "check_val_every_n_epoch": settings.validate_every,
        "logger": _loggers(recipe, folder, purge_step),
        "devices": recipe.trainer.devices or 1,
        "num_nodes": recipe.trainer.num_nodes or 1,
        "enable_checkpointing": True,  # by engine.checkpoints
        "callbacks": [*callbacks, LearningRateMonitor(logging_interval="epoch")],
    }
    trainer = make_trainer(recipe, folder, **options)
    restart_within_epochs(trainer)
    return trainer


def make_trainer(recipe: Recipe, folder: Path, **options: Any) -> pl.Trainer:
    """Make a Trainer with the recipe's device, precision, clipping and accumulation."""
    settings = recipe.trainer
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uses_gpu = torch.cuda.is_available() and settings.accelerator != "cpu"
    if by_slurm() and not by_torchrun():  # requeueing is SLURM's; our own last.ckpt is what a requeued job goes on from
        options = {"plugins": [SLURMEnvironment(auto_requeue=False)], **options}
    if recipe.num_processes > 1:
        options = {"strategy": DDPStrategy(timeout=PROCESSES_WAIT), **options}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")  # the recipe's choice
            return pl.Trainer(
                default_root_dir=folder,
                accelerator=settings.accelerator,
                precision=LIGHTNING_PRECISION[settings.precision],
                deterministic="warn" if uses_gpu else None,
                gradient_clip_val=settings.clip_norm,
                accumulate_grad_batches=settings.accumulate,
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,  # moganet.data.order divides the images
                sync_batchnorm=uses_gpu and recipe.num_processes > 1,
                **{"devices": 1, "enable_checkpointing": False, **options},
            )
    except Exception as error:  # Lightning raises of many kinds
        raise ConfigError(f"the trainer can't be made with these settings: {' '.join(str(error).split())}") from None


def _loggers(recipe: Recipe, folder: Path, purge_step: int | None) -> list[Logger]:
    names = dict.fromkeys(("csv", *recipe.logger))  # the curves are drawn from the CSV file
    return [_logger(name, folder, purge_step) for name in names]


def _logger(name: str, folder: Path, purge_step: int | None) -> Logger:
    kind, package = LOGGERS[name]
    options: dict[str, dict[str, Any]] = {
        "csv": {"save_dir": folder, "name": "", "version": ""},
        "tensorboard": {"save_dir": folder, "name": "", "version": "tensorboard", "purge_step": purge_step},
        "wandb": {"save_dir": folder, "project": "moganet", "name": folder.name},
        "mlflow": {
            "experiment_name": "moganet",
            "run_name": folder.name,
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        },
        "comet": {"project": "moganet", "name": folder.name},
        "neptune": {"name": folder.name},
    }
    make: Callable[..., Logger] = getattr(pl.loggers, kind)
    try:
        return make(**options[name])
    except ImportError:
        raise MissingExtraError(
            f"the logger {name!r} needs a package that is not installed: pip install {package}"
        ) from None


def build_module(recipe: Recipe, dataset: Dataset) -> ImageDataModule:
    """Build the batches of a resolved recipe. Raises ConfigError for augmentations that can't be made."""
    try:
        return ImageDataModule(
            dataset,
            recipe.data,
            recipe.preprocessing,
            recipe.augment,
            recipe.seed,
            accumulate=recipe.trainer.accumulate,
            processes=recipe.num_processes,
        )
    except MogaNetError:
        raise
    except Exception as error:  # kornia and torchvision raise of many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"the settings of augment can't be computed with: {reason}") from None
