"""`train --preview`: what the network would see of its first batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchvision import tv_tensors

from moganet.data import Dataset, Sample
from moganet.data.module import take
from moganet.errors import DataError
from moganet.models.provenance import without_place
from moganet.notices import noted
from moganet.report.boxes import things_of, with_things
from moganet.report.grids import draw_images
from moganet.report.masks import in_colours, painted_over, usual_palette
from moganet.report.poses import draw_poses
from moganet.results import Result
from moganet.tasks.recipes import task_of
from moganet.training.assemble import build_module
from moganet.training.draws import own_draws
from moganet.training.resolve import prepare

if TYPE_CHECKING:
    from moganet.data.in_python import Data

PREVIEW_IMAGES = 40
MOST_SAMPLES = 24  # of all splits together


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
    task = task_of(settings)
    description = task.describe(dataset, settings.task)
    mean, std = (torch.tensor(getattr(settings.preprocessing, name)).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = ((batch.images[:PREVIEW_IMAGES] * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    seen = [task.preview(image.numpy(), _target_at(batch.targets, i), description) for i, image in enumerate(pixels)]
    images, names = [image for image, _ in seen], [text for _, text in seen]
    draw_images(images, names, Path(picture), f"{settings.name}: what the network sees")
    return Preview(preview=str(picture), images=len(pixels), size=list(batch.images.shape[2:]))


def _target_at(targets: Any, place: int) -> Any:
    """Give one target of a batch's, whose targets may be a tensor, a list, or tensors by their names."""
    return {key: value[place] for key, value in targets.items()} if isinstance(targets, dict) else targets[place]


def draw_samples(dataset: Dataset, picture: Path) -> None:
    """Draw some images of a data set, evenly spread, each with its target. Raises DataError where none can be read."""
    images, names = list[Any](), list[str]()
    for name, split in dataset.distinct().items():
        for sample in take(split.with_channels(3), MOST_SAMPLES // len(dataset.distinct())):
            if split.targets.key_points() is not None:
                shown, text = _with_points(sample, split.targets)
            else:
                shown, text = _shown(sample, dataset.class_names, split.targets.colours)
            images.append(shown)
            names.append(f"{name}: {text}")
    if not images:
        raise DataError(f"no image of {dataset.spec} can be read, so that none can be drawn")
    draw_images(images, names, picture, without_place(dataset.spec))


def _with_points(sample: Sample, targets: Any) -> tuple[Any, str]:
    points, boxes = (sample.target[name].numpy() for name in ("points", "boxes"))
    drawn = draw_poses(in_colours(sample.image.numpy()), points, boxes, targets.marks.skeleton)
    return drawn.transpose(2, 0, 1), Path(sample.name).name


def _shown(sample: Sample, class_names: Sequence[str], colours: Sequence[Any]) -> tuple[Any, str]:
    image, target = sample.image.numpy(), sample.target
    if isinstance(target, dict):
        boxes, labels, masks = target["boxes"], target["labels"], target.get("masks")
        things = things_of(boxes, labels, class_names, masks, target["crowd"])
        drawn = with_things(image, things)
        return drawn.transpose(2, 0, 1), Path(sample.name).name
    if isinstance(target, tv_tensors.Mask):
        drawn = painted_over(in_colours(image), target.numpy(), colours or usual_palette(len(class_names)))
        return drawn.transpose(2, 0, 1), Path(sample.name).name
    marked = target.nonzero()[:, 0].tolist() if isinstance(target, Tensor) and target.ndim else [int(target)]
    return image, "\n".join(class_names[i] for i in marked) or "(none)"
