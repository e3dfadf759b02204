"""How good a multi-label network is: mean average precision, F1 at the thresholds, calibration, and each class."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric

from moganet.numbers import percent
from moganet.results import Record
from moganet.tasks.evaluator import Evaluator, Gathered
from moganet.tasks.multilabel.answers import found, sigmoid
from moganet.tasks.multilabel.description import MultilabelDescription
from moganet.tasks.multilabel.figures import (
    average_precision,
    best_thresholds,
    calibration_error,
    cross_entropy,
    mean,
    mean_average_precision,
)
from moganet.tasks.records import Evaluation, Table
from moganet.tasks.task import TaskDescription


class OfLabel(Record):
    """What was found of a class: None where no image has it, and precision where it is never found.

    images: those that have it.
    """

    name: str
    ap: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float
    images: int


class MultilabelEvaluation(Evaluation):
    """A multi-label network's figures: fractions, and the mean binary cross-entropy `loss`.

    map, f1: means over the classes that some image has; map_micro, f1_micro: over all answers together. exact_match:
    the share of images whose every class is right. ece: over all answers. What was not measured is None.
    """

    map: float | None
    map_micro: float | None
    f1: float | None
    f1_micro: float | None
    exact_match: float
    loss: float
    ece: float
    per_class: tuple[OfLabel, ...]

    def headline(self) -> str:
        """Say the mean average precision."""
        return f"mean average precision {percent(self.map, 2)} of {self.num_images} images ({self.split})"

    def lines(self) -> Iterable[str]:
        """Say the figures, a line each."""
        yield f"mAP {percent(self.map, 2)} (micro {percent(self.map_micro, 2)})"
        exact = f"all classes right {percent(self.exact_match, 2)}"
        yield f"F1 {percent(self.f1, 2)} (micro {percent(self.f1_micro, 2)}), {exact}"
        yield f"loss {self.loss:.4f}, expected calibration error {percent(self.ece, 2)}"

    def table(self) -> Table:
        """Give the figures of each class."""
        numbers = ("AP", "precision", "recall", "F1", "threshold", "images")
        rows = [
            (
                one.name,
                *(percent(one[key]) for key in ("ap", "precision", "recall", "f1")),
                f"{one.threshold:.3f}",
                str(one.images),
            )
            for one in self.per_class
        ]
        return Table(("class", *numbers), rows, numbers)


class MeanPrecision(Gathered):
    """Mean average precision of all logits and rows that came; `thresholds` are those of the last computation."""

    logits: list[Tensor]
    rows: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__(logits=torch.empty(0, num_classes), rows=torch.empty(0, num_classes))
        self.thresholds: tuple[float, ...] = ()

    def update(self, logits: Tensor, rows: Tensor) -> None:
        self.logits.append(logits)
        self.rows.append(rows)

    def compute(self) -> Tensor:
        logits, rows = (self.joined(name).cpu().numpy() for name in ("logits", "rows"))
        self.thresholds = best_thresholds(logits, rows > 0)
        return torch.tensor(mean_average_precision(logits, rows > 0) or 0.0)


class MultilabelEvaluator(Evaluator):
    """Measure logits (B, classes) against rows of 0 and 1 (B, classes)."""

    def __init__(self, description: MultilabelDescription, *, keeps: bool) -> None:
        super().__init__({"loss": MeanMetric(), "map": MeanPrecision(len(description.class_names))}, keeps=keeps)
        self.description = description

    def measure(self, outputs: Mapping[str, Tensor], targets: Tensor) -> None:
        logits = outputs["logits"]
        self.figures()["loss"].update(F.binary_cross_entropy_with_logits(logits, targets), len(logits))
        self.figures()["map"].update(logits, targets)

    def fitted(self, description: TaskDescription) -> TaskDescription:
        """Keep the thresholds that are best on the validation images."""
        precision = self.figures()["map"]
        assert isinstance(precision, MeanPrecision)
        precision.compute()
        return description.changed(thresholds=precision.thresholds)

    def details(self) -> dict[str, Any]:
        """Give what MultilabelEvaluation says of all logits that came."""
        logits = torch.cat([outputs["logits"] for outputs, _ in self.kept]).numpy()
        return measure(logits, torch.cat([targets for _, targets in self.kept]).numpy() > 0, self.description)


def measure(
    logits: NDArray[np.floating], truth: NDArray[np.bool_], description: MultilabelDescription
) -> dict[str, Any]:
    """Give the figures of logits (N, classes) against what images have (N, classes)."""
    answered = found(logits, description)
    per_class = tuple(
        _of_label(name, threshold, scores, has, said)
        for name, threshold, scores, has, said in zip(
            description.class_names, description.cuts, logits.T, truth.T, answered.T, strict=True
        )
    )
    return {
        "map": mean([one.ap for one in per_class]),
        "map_micro": average_precision(logits.ravel(), truth.ravel()),
        "f1": mean([one.f1 for one in per_class]),
        "f1_micro": _f1(truth, answered),
        "exact_match": float((truth == answered).all(1).mean()),
        "loss": cross_entropy(logits, truth),
        "ece": calibration_error(sigmoid(logits), truth),
        "per_class": per_class,
    }


def _of_label(
    name: str, threshold: float, scores: NDArray[np.floating], has: NDArray[np.bool_], said: NDArray[np.bool_]
) -> OfLabel:
    hits, images, answers = int((has & said).sum()), int(has.sum()), int(said.sum())
    return OfLabel(
        name=name,
        ap=average_precision(scores, has),
        precision=hits / answers if answers and images else None,
        recall=hits / images if images else None,
        f1=_f1(has, said) if images else None,
        threshold=threshold,
        images=images,
    )


def _f1(has: NDArray[np.bool_], said: NDArray[np.bool_]) -> float | None:
    both = int(has.sum() + said.sum())
    return 2 * int((has & said).sum()) / both if both else None
