"""How good a classifier is: accuracy, loss, calibration, and each class."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from moganet.numbers import percent, wilson_interval
from moganet.results import Record
from moganet.tasks.classify.description import ClassifyDescription
from moganet.tasks.evaluator import CALIBRATION_BINS, Evaluator
from moganet.tasks.records import Evaluation, Table

FIVE = 5  # classes, from which on the best five say something


class OfClass(Record):
    """What was found of a class; None where it has no images, and precision also where it is never predicted."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    num_images: int


class ClassifyEvaluation(Evaluation):
    """A classifier's figures: fractions, and the mean cross-entropy `loss`.

    interval: of 95 % (Wilson 1927). ece_by_chance: what a perfectly calibrated model would show on so many images.
    confusion: counts, rows are the truth.
    """

    top1: float
    top5: float
    loss: float
    ece: float
    ece_by_chance: float
    interval: tuple[float, float]
    per_class: tuple[OfClass, ...]
    confusion: list[list[int]]

    def headline(self) -> str:
        return f"{100 * self.top1:.2f} % of {self.num_images} images ({self.split}) right"

    def lines(self) -> Iterable[str]:
        low, high = (100 * bound for bound in self.interval)
        yield f"top-1 {100 * self.top1:.2f} % (95 % interval {low:.2f} to {high:.2f})"
        top5 = f"top-5 {100 * self.top5:.2f} %, " if len(self.per_class) > FIVE else ""
        yield f"{top5}loss {self.loss:.4f}"
        chance = f"(by chance alone {100 * self.ece_by_chance:.2f} %)"
        yield f"expected calibration error {100 * self.ece:.2f} % {chance}"

    def table(self) -> Table:
        shares = ("precision", "recall", "f1")
        rows = [(row.name, *(percent(row[key]) for key in shares), str(row.num_images)) for row in self.per_class]
        numbers = ("precision", "recall", "F1", "images")
        return Table(("class", *numbers), rows, numbers)


class ClassifyEvaluator(Evaluator):
    """Measure logits (B, classes) against labels (B,), the model's indices; those below 0 are no class of it."""

    def __init__(self, description: ClassifyDescription, *, keeps: bool) -> None:
        self.class_names = description.class_names
        classes = len(description.class_names)
        accuracy = MulticlassAccuracy(classes, average="micro") if classes else MeanMetric()
        super().__init__({"loss": MeanMetric(), "top1": accuracy}, keeps=keeps)

    def measure(self, outputs: Mapping[str, Tensor], targets: Tensor) -> None:
        logits = outputs["logits"]
        self.figures()["loss"].update(F.cross_entropy(logits, targets), len(logits))
        self.figures()["top1"].update(logits, targets)

    def details(self) -> dict[str, Any]:
        logits = torch.cat([outputs["logits"] for outputs, _ in self.kept])
        return measure(logits, torch.cat([targets for _, targets in self.kept]), self.class_names)


def measure(logits: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Give the figures of logits (N, classes) against labels (N,), the model's indices."""
    classes = len(class_names)
    ranks = logits.topk(min(FIVE, classes), dim=1).indices == labels[:, None]
    top1 = ranks[:, 0].float().mean().item()
    confusion = multiclass_confusion_matrix(logits, labels, classes) if classes > 1 else torch.tensor([[len(labels)]])
    return {
        "top1": top1,
        "top5": ranks.any(1).float().mean().item(),
        "loss": F.cross_entropy(logits, labels).item(),
        "ece": calibration_error(logits, labels),
        "ece_by_chance": ece_by_chance(logits.softmax(1).amax(1)),
        "interval": wilson_interval(top1, len(labels)),
        "per_class": _per_class(confusion.double(), class_names),
        "confusion": confusion.tolist(),
    }


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Give the expected calibration error of logits (N, classes), which is 0 where there is nothing to choose."""
    classes = logits.shape[1]
    if classes < 2:
        return 0.0
    return float(multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=CALIBRATION_BINS))


def ece_by_chance(confidence: Tensor, draws: int = 100) -> float:
    """Give the mean calibration error where each answer is right as often as its confidence (N,) says.

    With few images the bins' shares scatter, and all of that scatter counts as error.
    """
    random = np.random.default_rng(0)
    sure = confidence.double().numpy().clip(0, 1)
    bins = np.minimum((sure * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    errors = [
        np.abs(np.bincount(bins, weights=sure - (random.random(len(sure)) < sure), minlength=CALIBRATION_BINS)).sum()
        for _ in range(draws)
    ]
    return float(np.mean(errors) / max(len(sure), 1))


def _per_class(confusion: Tensor, class_names: tuple[str, ...]) -> tuple[OfClass, ...]:
    right, true, predicted = (part.tolist() for part in (confusion.diagonal(), confusion.sum(1), confusion.sum(0)))
    rows = []
    for name, hits, images, answers in zip(class_names, right, true, predicted, strict=True):
        recall, f1 = (hits / images, 2 * hits / (images + answers)) if images else (None, None)
        precision = hits / answers if images and answers else None
        rows.append(OfClass(name=name, precision=precision, recall=recall, f1=f1, num_images=int(images)))
    return tuple(rows)
