"""Semantic segmentation as a task."""

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Architecture, Recipe, TaskSettings
from moganet.results import Metric
from moganet.tasks.segment.description import SegmentDescription, SegmentLoss, SegmentSettings
from moganet.tasks.task import Array, Asked, Evaluation, Outputs, Row, Task, TaskDescription

if TYPE_CHECKING:
    from torch import nn

    from moganet.data import Dataset
    from moganet.report import GridItem
    from moganet.tasks.evaluator import Evaluator
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.report import Reported, Seen


def _room(name: str) -> Any:
    return importlib.import_module(f"moganet.tasks.segment.{name}")


class Segment(Task):
    """One class a pixel."""

    name = "segment"
    settings, loss, description = SegmentSettings, SegmentLoss, SegmentDescription
    metrics = (Metric("miou", "Mean IoU", "mean intersection over union", "mIoU"),)
    columns = ("file", "name", "pixels", "share")
    pipeline = "image-segmentation"

    @property
    def evaluation(self) -> "type[Evaluation]":
        kind: type[Evaluation] = _room("evaluator").SegmentEvaluation
        return kind

    def network(self, architecture: Architecture, settings: TaskSettings) -> Architecture:
        assert isinstance(settings, SegmentSettings)
        return architecture.changed(head=settings.head)

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        raise NotImplementedError

    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        raise NotImplementedError

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "Evaluator":
        raise NotImplementedError

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        raise NotImplementedError

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Any]:
        raise NotImplementedError

    def row(self, file: str, answer: Any, truth: Any, *, trained: bool) -> Row:
        raise NotImplementedError

    def picture(self, image: Any, answer: Any, truth: Any) -> "GridItem":
        raise NotImplementedError

    def say(self, figures: Any) -> str | None:
        miou = figures.get("miou") if isinstance(figures, dict) else None
        return f"mIoU {100 * miou:.2f} %" if isinstance(miou, int | float) else None

    def report(self, seen: "Seen") -> "Reported":
        raise NotImplementedError

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating]:
        alike = given["logits"].argmax(1) == expected["logits"].argmax(1)
        return np.asarray(alike.mean((1, 2)))
