"""`train --preview`: what the network would see of its first batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from moganet.notices import noted
from moganet.report.grids import draw_images
from moganet.results import Result
from moganet.training.assemble import build_module
from moganet.training.draws import own_draws
from moganet.training.resolve import prepare

if TYPE_CHECKING:
    from moganet.data.in_python import Data

PREVIEW_IMAGES = 40


class Preview(Result):
    """What was drawn. preview: the picture's file. size: of each image, in pixels."""

    preview: str
    images: int
    size: list[int]


@noted
@own_draws()
def preview(
    recipe: str | Path,
    picture: str | Path,
    data: "Data | None" = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    start: str | Path | None = None,
) -> Preview:
    """Draw what the network would see of its first batch, augmented, with its labels; train nothing."""
    settings, dataset = prepare(recipe, data, overrides, start)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    module = build_module(settings, dataset)
    batch = module.augmented(next(iter(module.train_dataloader())))
    images, names = batch.images[:PREVIEW_IMAGES], []
    for target in batch.targets[:PREVIEW_IMAGES]:
        shares = {int(target): 1.0} if target.ndim == 0 else {int(i): float(target[i]) for i in target.nonzero()}
        named = [f"{dataset.class_names[i]}" + ("" if share == 1 else f" {share:.2f}") for i, share in shares.items()]
        names.append("\n".join(named))
    mean, std = (torch.tensor(getattr(settings.preprocessing, name)).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    draw_images(list(pixels), names, Path(picture), f"{settings.name}: what the network sees")
    return Preview(preview=str(picture), images=len(pixels), size=list(settings.preprocessing.size))
