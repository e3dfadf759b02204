"""`train --preview`: what the network would see of its first batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from moganet.notices import noted
from moganet.report.grids import draw_images
from moganet.results import Result
from moganet.tasks.recipes import task_of
from moganet.training.assemble import build_module
from moganet.training.resolve import prepare

PREVIEW_IMAGES = 40


class Preview(Result):
    """What was drawn. preview: the picture's file. size: of each image, in pixels."""

    preview: str
    images: int
    size: list[int]


@noted
def preview(
    recipe: str | Path,
    picture: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    start: str | Path | None = None,
) -> Preview:
    """Draw what the network would see of its first batch, augmented, with its labels; train nothing."""
    settings, dataset = prepare(recipe, data, overrides, start)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    module = build_module(settings, dataset)
    batch = module.augmented(next(iter(module.train_dataloader())))
    task = task_of(settings)
    description = task.describe(dataset, settings.task)
    mean, std = (torch.tensor(getattr(settings.preprocessing, name)).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = ((batch.images[:PREVIEW_IMAGES] * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    seen = [task.preview(image.numpy(), batch.targets[i], description) for i, image in enumerate(pixels)]
    images, names = ([one[part] for one in seen] for part in range(2))
    draw_images(images, names, Path(picture), f"{settings.name}: what the network sees")
    return Preview(preview=str(picture), images=len(pixels), size=list(batch.images.shape[2:]))
