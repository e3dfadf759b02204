"""A recipe's settings tried on two made-up images before anything is written: what kornia, timm and torch refuse."""

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from moganet.config import ResolvedRecipe
from moganet.data import ArraySplit
from moganet.data.loader import Batch
from moganet.data.module import ImageDataModule
from moganet.tasks.module import TaskModule
from moganet.tasks.optimize import build_optimizer, build_schedule
from moganet.training.assemble import settings_of

SIDES = (48, 56)  # pixels, of a made-up photograph
STEPS = 100


@isolate_rng(include_cuda=False)
def try_settings(recipe: ResolvedRecipe, module: ImageDataModule, task: TaskModule) -> None:
    """Do once what a step does. Raises ConfigError that names the section whose values can't be computed with."""
    with settings_of("augment"):
        batch = _augmented(recipe, module)
    with settings_of("schedule"):
        _try_schedule(task)
    if recipe.trainer.compile:
        return
    with settings_of("network or preprocessing.size"):
        logits = _answered(task, batch.images)
    with settings_of("loss"):
        task.loss_of(logits, batch.targets)


def _augmented(recipe: ResolvedRecipe, module: ImageDataModule) -> Batch:
    split, channels = module.dataset.split("train"), recipe.preprocessing.channels
    sides = tuple(split.images.shape[2:]) if isinstance(split, ArraySplit) else SIDES
    images = torch.randint(0, 256, (2, channels, *sides), dtype=torch.uint8)
    if module.worker_transform is not None:
        images = torch.stack([module.worker_transform(image, None)[0] for image in images])
    return module.augmented(Batch(images, split.targets.batch([0, len(split) - 1])))


def _try_schedule(task: TaskModule) -> None:
    schedule = build_schedule(build_optimizer(task.network, task.learning.optimizer), task.learning.schedule, STEPS)
    for step in range(STEPS):
        schedule.step_update(step)


@torch.no_grad()
def _answered(task: TaskModule, images: Tensor) -> Tensor:
    was_training = task.network.training
    logits: Tensor = task.network.eval()(images)
    task.network.train(was_training)
    return logits
