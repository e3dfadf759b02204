"""From a resolved recipe and a data set to the objects of a run; what is wrong with a setting is said here."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor
from pytorch_lightning.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.seed import isolate_rng
from torch import nn

from moganet.compat import restart_within_epochs
from moganet.config import Precision, ResolvedRecipe
from moganet.data import ArraySplit, Dataset
from moganet.data.loader import Batch
from moganet.data.module import ImageDataModule, filled_up, take
from moganet.devices import choose_device
from moganet.errors import ConfigError, MogaNetError
from moganet.inference.load import load
from moganet.launchers import by_slurm, by_torchrun
from moganet.models.build import build_network_for
from moganet.processors import share_cores
from moganet.tasks.module import Learning, TaskModule
from moganet.tasks.optimize import build_optimizer, build_schedule
from moganet.tasks.recipes import task_of
from moganet.training.callbacks import ValidatesLast, average_weights
from moganet.training.epoch_table import EpochTable
from moganet.training.loggers import make_logger
from moganet.training.signals import PROCESSES_WAIT
from moganet.training.start import frozen, head_of, load_teacher, start_from

LIGHTNING_PRECISION: dict[Precision, Any] = {"f32": "32-true", "bf16": "bf16-mixed", "f16": "16-mixed"}
TRIED_SIDES = (48, 56)  # pixels, of a made-up photograph
TRIED_STEPS = 100


def build_task(recipe: ResolvedRecipe, dataset: Dataset, *, resumed: bool = False) -> TaskModule:
    """Build network, loss and optimizer. Raises ConfigError for what does not exist.

    resumed: a checkpoint will fill the network; the weights that the run started from are not needed.
    """
    network = build_network_for(recipe.network)
    if recipe.start.model is not None and not resumed:
        start_from(network, load(recipe.start.model, device="cpu"), dataset.class_names, recipe.network)
    if recipe.trainer.grad_checkpointing:
        _recompute(network)
    if recipe.trainer.lean:
        _keep_less(network)
    if recipe.trainer.channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = recipe.optimizer
    if optimizer.lr_per is not None:
        optimizer = optimizer.changed(lr=optimizer.lr * recipe.images_a_step / optimizer.lr_per)
    kept = frozen(network, recipe.start.freeze)
    first = head_of(network, recipe, resumed=resumed), recipe.start.freeze_epochs
    learning = Learning(recipe.loss, optimizer, recipe.schedule, load_teacher(recipe, dataset), kept, *first)
    task = task_of(recipe).module(network, recipe, dataset, learning)
    with settings_of(f"optimizer {optimizer.name}"):
        build_optimizer(network, optimizer)
    if recipe.trainer.compile:
        network.compile()
    return task


@contextmanager
def settings_of(section: str) -> Iterator[None]:
    """Name the section of a recipe in a ConfigError for whatever libraries raise within the block, of many kinds."""
    try:
        yield
    except MogaNetError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"the settings of {section} can't be computed with: {reason}") from None


def _recompute(network: nn.Module) -> None:
    try:
        network.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError, NotImplementedError):  # of networks that are not ours
        what = f"{type(network).__name__} can't recompute"
        raise ConfigError(f"trainer.grad_checkpointing: {what}; leave it out") from None


def _keep_less(network: nn.Module) -> None:
    if not hasattr(network, "set_lean"):  # networks that are not ours
        raise ConfigError(f"trainer.lean is for MogaNets, not {type(network).__name__}; use trainer.grad_checkpointing")
    network.set_lean()  # type: ignore[operator]


def build_trainer(
    recipe: ResolvedRecipe, folder: Path, callbacks: list[Callback], *, purge_step: int | None = None
) -> pl.Trainer:
    """Build Lightning's Trainer. Raises ConfigError for a device or a logger that is not there."""
    settings = recipe.trainer
    if settings.early_stop is not None:
        monitor, patience = task_of(recipe).monitor, settings.early_stop
        stopping = EarlyStopping(f"val/{monitor.name}", mode=monitor.mode, patience=patience, strict=False)
        callbacks = [*callbacks, stopping]
    if settings.ema is not None:
        callbacks = [*callbacks, average_weights(settings.ema)]
    loggers = dict.fromkeys(("csv", *recipe.logger))  # the curves are drawn from the CSV file
    options = {
        "max_epochs": settings.max_epochs,
        "max_steps": settings.max_steps or -1,
        "check_val_every_n_epoch": settings.validate_every,
        "logger": [make_logger(name, folder, purge_step) for name in loggers],
        "devices": settings.devices,
        "num_nodes": settings.num_nodes,
        "enable_checkpointing": True,  # by training.checkpoints
        "callbacks": [*callbacks, ValidatesLast(), LearningRateMonitor(logging_interval="epoch")],
    }
    trainer = make_trainer(recipe, folder, **options)
    restart_within_epochs(trainer)
    for logger in trainer.loggers:
        if isinstance(logger, EpochTable):
            logger.place = lambda: (trainer.current_epoch, trainer.global_step)
    return trainer


def make_trainer(recipe: ResolvedRecipe, folder: Path, **options: Any) -> pl.Trainer:
    """Make a Trainer with the recipe's device, precision, clipping and accumulation."""
    settings = recipe.trainer
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    device = choose_device(settings.accelerator)
    uses_gpu = device.startswith("cuda")
    numbered = {"devices": [int(device.partition(":")[2])]} if ":" in device else {}
    if by_slurm() and not by_torchrun():  # requeueing is SLURM's; our own last.ckpt is what a requeued job goes on from
        options = {"plugins": [SLURMEnvironment(auto_requeue=False)], **options}
    if recipe.trainer.devices > 1:
        share_cores(recipe.trainer.devices)
    if recipe.num_processes > 1:
        held = recipe.start.freeze_epochs > 0  # some give no gradients at first
        options = {"strategy": DDPStrategy(timeout=PROCESSES_WAIT, find_unused_parameters=held), **options}
    with settings_of("trainer"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")  # the recipe's choice
        return pl.Trainer(
            default_root_dir=folder,
            accelerator="gpu" if uses_gpu else device,
            precision=LIGHTNING_PRECISION[settings.precision],
            deterministic="warn" if uses_gpu else None,
            gradient_clip_val=settings.clip_norm,
            accumulate_grad_batches=settings.accumulate,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,  # moganet.data.order divides the images
            sync_batchnorm=uses_gpu and recipe.num_processes > 1,
            **{"devices": 1, "enable_checkpointing": False, **options, **numbered},
        )


def build_module(recipe: ResolvedRecipe, dataset: Dataset) -> ImageDataModule:
    """Build the batches. Raises ConfigError for augmentations that can't be made."""
    asked, parts = (recipe.data, recipe.preprocessing, recipe.augment, recipe.seed), recipe.trainer.accumulate
    on_gpu = choose_device(recipe.trainer.accelerator).startswith("cuda")
    with settings_of("augment"):
        module = ImageDataModule(
            task_of(recipe).samples(dataset), *asked, accumulate=parts, processes=recipe.num_processes, pins=on_gpu
        )
    module.beside = recipe.trainer.devices
    return module


@isolate_rng(include_cuda=False)
def try_settings(recipe: ResolvedRecipe, module: ImageDataModule, task: TaskModule) -> None:
    """Do a step on two made-up images. Raises ConfigError that names the section that can't be computed with."""
    with settings_of("augment"):
        batch = _augmented(recipe, module)
    with settings_of("schedule"):
        _try_schedule(task)
    if recipe.trainer.compile:
        return
    with settings_of("network, preprocessing.size or loss"):
        _try_step(task, batch)


def _augmented(recipe: ResolvedRecipe, module: ImageDataModule) -> Batch:
    split, channels = module.dataset.split("train"), recipe.preprocessing.channels
    if module.worker_transform is not None and split.targets.have_places:
        found = [module.worker_transform(one.image, one.target) for one in take(split.with_channels(channels), 2)]
        seen, sizes = [image for image, _ in found], tuple[tuple[int, int], ...]()
        if split.targets.may_differ:
            seen, sizes = filled_up(seen)
        targets = split.targets.stack([target for _, target in found])
        return module.augmented(Batch(torch.stack(seen), targets, sizes=sizes))
    sides = tuple(split.images.shape[2:]) if isinstance(split, ArraySplit) else TRIED_SIDES
    images = torch.randint(0, 256, (2, channels, *sides), dtype=torch.uint8)
    if module.worker_transform is not None:
        images = torch.stack([module.worker_transform(image, None)[0] for image in images])
    places = 0, len(split) - 1
    return module.augmented(Batch(images, split.targets.batch([*places]), places=places))


def _try_schedule(task: TaskModule) -> None:
    schedule = build_schedule(
        build_optimizer(task.network, task.learning.optimizer), task.learning.schedule, TRIED_STEPS
    )
    for step in range(TRIED_STEPS):
        schedule.step_update(step)


@torch.no_grad()
def _try_step(task: TaskModule, batch: Batch) -> None:
    was_training = task.training
    task.eval().step_of(batch.images, batch.targets)
    task.train(was_training)
