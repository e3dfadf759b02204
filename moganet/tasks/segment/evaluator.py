"""How good a segmenter is: intersection over union, of classes and along their borders, at the masks' own size."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric

from moganet.data.masks_coding import IGNORED
from moganet.numbers import percent
from moganet.results import Record
from moganet.tasks.evaluator import Evaluator
from moganet.tasks.records import Evaluation, Table
from moganet.tasks.segment.description import SegmentDescription
from moganet.tasks.segment.figures import boundary_counts, boundary_ious, confusion, ious, mean
from moganet.tasks.segment.labels import labels_of


class OfClass(Record):
    """What was found of a class: fractions, None where it is in no mask and no answer (accuracy: in no mask).

    accuracy: the share of its pixels that are found; precision: of the pixels that were taken for it. share: of all
    pixels that the masks name. boundary_iou: along borders, within 2 % of the diagonal (Cheng et al. 2021).
    """

    name: str
    iou: float | None
    boundary_iou: float | None
    accuracy: float | None
    precision: float | None
    share: float
    pixels: int


class SegmentEvaluation(Evaluation):
    """A segmenter's figures, over all pixels that the masks name.

    miou, macc, boundary_iou: means over the classes; aacc: the share of the pixels that are right. loss: the mean
    cross-entropy of a pixel, at the network's size. confusion: pixels by their class (row) and the class given.
    """

    miou: float | None
    macc: float | None
    aacc: float | None
    boundary_iou: float | None
    loss: float | None
    pixels: int
    per_class: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]

    def headline(self) -> str:
        """Say the mean intersection over union."""
        return f"mean IoU {percent(self.miou, 2)} of {self.num_images} images ({self.split})"

    def lines(self) -> Iterable[str]:
        """Say the figures, a line each."""
        yield f"mIoU {percent(self.miou, 2)}, along borders {percent(self.boundary_iou, 2)}"
        yield f"pixels right {percent(self.aacc, 2)}, mean over the classes {percent(self.macc, 2)}"
        yield f"loss {'–' if self.loss is None else format(self.loss, '.4f')}, {self.pixels:,} pixels"

    def table(self) -> Table:
        """Give the figures of each class."""
        numbers = ("IoU", "border IoU", "accuracy", "precision", "share", "pixels")
        keys = ("iou", "boundary_iou", "accuracy", "precision", "share")
        rows = [(one.name, *(percent(one[key]) for key in keys), f"{one.pixels:,}") for one in self.per_class]
        return Table(("class", *numbers), rows, numbers)


class MeanIou(Metric):
    """Mean intersection over union of all masks and answers that came, over the classes that either has.

    counts (classes, classes + 3): the confusion of pixels, and those along borders where `bordered`.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int, *, bordered: bool) -> None:
        super().__init__()
        self.num_classes, self.bordered = num_classes, bordered
        self.add_state("counts", torch.zeros(num_classes, num_classes + 3, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, labels: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> None:
        found = np.zeros((self.num_classes, self.num_classes + 3), np.int64)
        found[:, :-3] = confusion(labels, truth, self.num_classes)
        if self.bordered:
            found[:, -3:] = boundary_counts(labels, truth, self.num_classes)
        self.counts += torch.from_numpy(found).to(self.counts.device)

    def compute(self) -> Tensor:
        return torch.tensor(mean(ious(self.counts[:, :-3].cpu().numpy())) or 0.0)


class SegmentEvaluator(Evaluator):
    """Measure logits (B, classes, h, w), or labels of whole images, against masks; only counts are kept."""

    def __init__(self, description: SegmentDescription, *, keeps: bool) -> None:
        metrics = {
            "loss": MeanMetric(nan_strategy="ignore"),
            "miou": MeanIou(len(description.class_names), bordered=keeps),
        }
        super().__init__(metrics, keeps=False)
        self.description = description

    def measure(self, outputs: Mapping[str, Tensor], targets: Any) -> None:
        loss, miou = self.figures()["loss"], self.figures()["miou"]
        for number, target in enumerate(targets):
            truth = target.cpu().numpy()
            if "labels" in outputs:
                labels = outputs["labels"][number].cpu().numpy()
            else:
                logits = outputs["logits"][number].float()
                loss.update(_loss(logits, target))
                labels = labels_of(logits.cpu().numpy(), truth.shape)
            miou.update(labels, truth)

    def details(self) -> dict[str, Any]:
        """Give what SegmentEvaluation says of all that came."""
        miou, loss = self.figures()["miou"], self.figures()["loss"]
        assert isinstance(miou, MeanIou)
        counts = miou.counts.cpu().numpy()
        known = float(loss.compute()) if loss.update_called else None
        return {**measured(counts, self.description.class_names), "loss": known}


def measured(counts: NDArray[np.int64], class_names: tuple[str, ...]) -> dict[str, Any]:
    """Give the figures of counts (classes, classes + 3), as MeanIou has them."""
    matrix, along = counts[:, :-3], boundary_ious(counts[:, -3:])
    of_class, of_answer, right = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    accuracy, precision = (_shares(right, whole) for whole in (of_class, of_answer))
    iou, total = ious(matrix), int(matrix.sum())
    return {
        "miou": mean(iou),
        "macc": mean(accuracy),
        "aacc": int(right.sum()) / total if total else None,
        "boundary_iou": mean(along),
        "pixels": total,
        "per_class": tuple(
            OfClass(
                name=name,
                iou=_known(iou[i]),
                boundary_iou=_known(along[i]),
                accuracy=_known(accuracy[i]),
                precision=_known(precision[i]),
                share=int(of_class[i]) / max(1, total),
                pixels=int(of_class[i]),
            )
            for i, name in enumerate(class_names)
        ),
        "confusion": tuple(map(tuple, matrix.tolist())),
    }


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(wholes > 0, parts / np.maximum(wholes, 1), np.nan)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Give the mean cross-entropy of an image's known pixels, at the logits' size; NaN where there are none."""
    small = F.interpolate(target[None, None].float(), logits.shape[1:], mode="nearest-exact")[0].long()
    return F.cross_entropy(logits[None], small, ignore_index=IGNORED)
