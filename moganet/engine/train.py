"""`train`: a recipe and a data set become a run's folder with trained weights."""

import difflib
import logging
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from timm.optim import list_optimizers

from moganet.config import Precision, Recipe, load_recipe
from moganet.data import Dataset, open_data
from moganet.data.module import ImageDataModule, take
from moganet.engine.callbacks import ModelFiles, RunProgress, average_weights
from moganet.engine.memory import keep_freed_memory
from moganet.errors import ConfigError
from moganet.files import write_text
from moganet.inference import ModelDescription
from moganet.inference.load import build_network_for
from moganet.inference.model_file import NUM_FIXTURES
from moganet.network import full_name
from moganet.report.curves import draw_curves, read_metrics
from moganet.tasks.classify import Classification

logger = logging.getLogger(__name__)
LIGHTNING_PRECISION: dict[Precision, Any] = {"f32": "32-true", "bf16": "bf16-mixed", "f16": "16-mixed"}
RECIPE_FILE = "recipe.yaml"


def train(
    recipe: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train a network and leave a run's folder.

    recipe: the name of one that ships, or a YAML file. data: SOURCE[:PATH] or a path, in the recipe's place.
    overrides: dotted keys to values, or "key=value" texts. out: the run's folder itself (default: runs/RECIPE-N).
    The folder holds recipe.yaml, metrics.csv, tensorboard/, last.ckpt, best.safetensors, last.safetensors, curves.png.
    Raises ConfigError or DataError; KeyboardInterrupt after it has saved what there is.
    """
    settings = load_recipe(recipe, overrides)
    dataset = open_data(data or settings.data.source).with_validation(settings.data.validation, settings.seed)
    settings = resolve(settings, dataset)
    for note in dataset.notes:
        logger.warning("%s", note)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    task, module = _build(settings, dataset)
    folder = _make_folder(settings, out, overwrite)
    write_text(folder / RECIPE_FILE, settings.to_yaml())
    return _fit(settings, task, module, folder)


def resolve(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Fill in what a recipe leaves to the data: classes, channels, the variant's full name, the set's path."""
    classes = len(dataset.class_names)
    if recipe.network.num_classes not in (None, classes):
        raise ConfigError(
            f"network.num_classes is {recipe.network.num_classes}, but {dataset.spec} has {classes}; leave it out"
        )
    if recipe.optimizer.name not in list_optimizers():
        near = difflib.get_close_matches(recipe.optimizer.name, list_optimizers(), 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.optim.list_optimizers() lists them"
        raise ConfigError(f"there is no optimizer {recipe.optimizer.name!r}; {hint}")
    network = {
        "name": full_name(recipe.network.name),
        "num_classes": classes,
        "in_chans": recipe.preprocessing.channels,
    }
    return recipe.model_copy(
        update={
            "network": recipe.network.model_copy(update=network),
            "data": recipe.data.model_copy(update={"source": dataset.spec}),
        }
    )


def _make_folder(recipe: Recipe, out: str | Path | None, overwrite: bool) -> Path:
    if out is None:
        number = 1
        while (Path("runs") / f"{recipe.name}-{number}").exists():
            number += 1
        out = Path("runs") / f"{recipe.name}-{number}"
    folder = Path(out)
    if (folder / RECIPE_FILE).exists() and not overwrite:
        raise ConfigError(f"{folder} already holds a run; choose another --out, or --overwrite it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None
    return folder


def _build(recipe: Recipe, dataset: Dataset) -> tuple[Classification, ImageDataModule]:
    """Build all that can fail on a wrong setting, before anything is written."""
    network = build_network_for(recipe.network)
    if recipe.trainer.channels_last:
        network = network.to(memory_format=torch.channels_last)
    task = Classification(network, len(dataset.class_names), recipe.loss, recipe.optimizer, recipe.schedule)
    if recipe.trainer.compile:
        network.compile()
    return task, ImageDataModule(dataset, recipe.data, recipe.preprocessing, recipe.augment, recipe.seed)


def _fit(recipe: Recipe, task: Classification, module: ImageDataModule, folder: Path) -> dict[str, Any]:
    dataset = module.dataset
    files = ModelFiles(
        folder, _describe(recipe, dataset), [sample.image for sample in take(dataset.split("val"), NUM_FIXTURES)]
    )
    progress = RunProgress()
    trainer = _trainer(recipe, folder, [files, progress])
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    start = time.perf_counter()
    _run(trainer, task, module, folder)
    files.finish(trainer, task)
    draw_curves(
        read_metrics(folder / "metrics.csv"),
        folder / "curves.png",
        f"{recipe.network.name} on {dataset.spec.partition(':')[0]}",
    )
    for message in module.unreadable:
        logger.warning("left out: %s", message)
    return {
        "out": str(folder),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": time.perf_counter() - start,
        "images_per_second": progress.images_per_second,
        "train_loss": _metric(trainer, "train/loss"),
        "best": files.best,
        "last": files.last or None,
        "unreadable": list(module.unreadable),
    }


def _metric(trainer: pl.Trainer, name: str) -> float | None:
    value = trainer.callback_metrics.get(name)
    return None if value is None else float(value)


def _run(trainer: pl.Trainer, task: Classification, module: ImageDataModule, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # sets in memory need none
        warnings.filterwarnings("ignore", message=".*number of training batches.*")  # about the logging interval
        warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")  # the folder is the run's own
        try:
            trainer.fit(task, datamodule=module)
        except SystemExit:  # Lightning's answer to Ctrl-C
            kept = (
                "last.safetensors holds the weights of the last epoch"
                if (folder / "last.safetensors").exists()
                else "no epoch had ended"
            )
            raise KeyboardInterrupt(f"stopped; {kept} ({folder})") from None


def _trainer(recipe: Recipe, folder: Path, callbacks: list[Callback]) -> pl.Trainer:
    settings = recipe.trainer
    if settings.ema is not None:
        callbacks = [*callbacks, average_weights(settings.ema)]
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    return pl.Trainer(
        default_root_dir=folder,
        accelerator=settings.accelerator,
        devices=1,
        precision=LIGHTNING_PRECISION[settings.precision],
        max_epochs=settings.max_epochs,
        max_steps=settings.max_steps or -1,
        gradient_clip_val=settings.clip_norm,
        accumulate_grad_batches=settings.accumulate,
        check_val_every_n_epoch=settings.validate_every,
        num_sanity_val_steps=0,
        logger=[CSVLogger(folder, name="", version=""), TensorBoardLogger(folder, name="", version="tensorboard")],
        callbacks=[*callbacks, LearningRateMonitor(logging_interval="epoch")],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def _describe(recipe: Recipe, dataset: Dataset) -> ModelDescription:
    packages = {"moganet": version("moganet"), "torch": torch.__version__, "timm": timm.__version__}
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": dataset.spec,
        "seed": recipe.seed,
        "versions": {**packages, "python": platform.python_version()},
    }
    return ModelDescription(
        architecture=recipe.network,
        preprocessing=recipe.preprocessing,
        class_names=dataset.class_names,
        provenance=provenance,
    )
