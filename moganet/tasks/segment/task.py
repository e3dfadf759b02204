"""Semantic segmentation as a task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing, Recipe, TaskSettings
from moganet.errors import ConfigError, DataError
from moganet.report.masks import in_colours, painted_over
from moganet.results import Metric
from moganet.tasks.by_image import TaskByImage, refuse_blending
from moganet.tasks.records import Row
from moganet.tasks.segment.answers import COLUMNS, Segmentation, SegmentRow
from moganet.tasks.segment.description import SegmentDescription, SegmentLoss, SegmentSettings
from moganet.tasks.segment.labels import labels_of
from moganet.tasks.segment.seeing import Ask, Eye, softmax
from moganet.tasks.task import Array, Asked, Masks, Outputs, TaskDescription, Writer
from moganet.tasks.windows import Window

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.report import GridItem
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.report import Reported, Seen
    from moganet.tasks.segment.evaluator import SegmentEvaluation, SegmentEvaluator


class Segment(TaskByImage):
    """One class a pixel."""

    name = "segment"
    settings, loss, description = SegmentSettings, SegmentLoss, SegmentDescription
    metrics = (Metric("miou", "Mean IoU", "mean intersection over union", "mIoU"),)
    columns = COLUMNS
    pipeline = "image-segmentation"
    guards = False

    @property
    def evaluation(self) -> "type[SegmentEvaluation]":
        from moganet.tasks.segment.evaluator import SegmentEvaluation

        return SegmentEvaluation

    # Data and training

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        for name, split in dataset.distinct().items():
            areas = split.targets.areas()
            if areas is None:
                how = "give images with masks, --data masks:DIR, or use another recipe or model"
                kind = "boxes" if split.targets.marked() is not None else "a class an image"
                raise DataError(f"{dataset.spec} has {kind}, and no class a pixel; {how}")
            if training and len(dataset.class_names) < 2:
                one = f"{dataset.spec} has one class, {dataset.class_names[0]!r}, and nothing to tell it from"
                raise DataError(f"{one}; what lies around it must be a class too, and not void")
            if training and name == "train" and not areas.any():
                raise DataError(f"no training mask of {dataset.spec} has a pixel of a class; there is nothing to learn")

    def describe(self, dataset: "Dataset", settings: TaskSettings) -> SegmentDescription:
        assert isinstance(settings, SegmentSettings)
        palette = next(iter(dataset.splits.values())).targets.colours
        names = dataset.class_names
        return SegmentDescription(name="segment", class_names=names, palette=palette, window=settings.window)

    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        from moganet.tasks.segment.training import SegmentTraining

        description, mode = self.describe(dataset, recipe.task), recipe.preprocessing.crop_mode
        if mode == "center":
            raise ConfigError("preprocessing.crop_mode center would not see whole images; use fit, keep or squash")
        refuse_blending(recipe, "not masks")
        return SegmentTraining(network, description, learning, _weights(recipe, dataset))

    def preview(
        self, image: NDArray[np.uint8], target: Any, description: TaskDescription
    ) -> tuple[NDArray[np.uint8], str]:
        labels, own = np.asarray(target).astype(np.int64), _own(description)
        counts = np.bincount(labels[labels >= 0], minlength=len(own.class_names))
        largest = [own.class_names[i] for i in np.argsort(-counts, kind="stable")[:2].tolist() if counts[i]]
        return painted_over(in_colours(image), labels, own.colours).transpose(2, 0, 1), ", ".join(largest) or "nothing"

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "SegmentEvaluator":
        from moganet.tasks.segment.evaluator import SegmentEvaluator

        return SegmentEvaluator(_own(description), keeps=keeps)

    # Answers

    def see(
        self,
        pixels: NDArray[np.uint8],
        ask: Ask,
        description: TaskDescription,
        preprocessing: Preprocessing,
        boxes: Array | None = None,
    ) -> Outputs:
        return Eye(ask, _own(description), preprocessing).see(pixels)

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        return softmax(outputs["logits"])

    def mirrored(self, probabilities: Array, description: TaskDescription) -> Array:
        return np.ascontiguousarray(probabilities[..., ::-1])

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Segmentation]:
        names, palette = description.class_names, _own(description).colours
        if "labels" in outputs:
            return [Segmentation(labels, names, palette) for labels in outputs["labels"]]
        logits = outputs["logits"]
        sizes = outputs["size"].tolist() if "size" in outputs else [logits.shape[2:]] * len(logits)
        return [
            Segmentation(labels_of(one, (int(height), int(width))), names, palette)
            for one, (height, width) in zip(logits, sizes, strict=True)
        ]

    def row(self, file: str, answer: Segmentation, truth: Any, *, trained: bool) -> SegmentRow:
        return SegmentRow.of(file, answer, truth, trained=trained)

    def sent(self, row: Row, answer: Segmentation, masks: Masks) -> Row:
        from moganet.report.page import as_uri
        from moganet.tasks.segment.answers import runs_of
        from moganet.tasks.segment.writing import index_image

        if masks == "png":
            return row.changed(mask=as_uri(index_image(answer.labels, answer.palette), "PNG"))
        return row.changed(runs=runs_of(answer)) if masks == "rle" else row

    def colours(self, answer: Segmentation) -> Mapping[str, tuple[int, int, int]]:
        return {answer.class_names[i]: answer.palette[i] for i in answer.order}

    def picture(self, image: Any, answer: Segmentation, truth: Any) -> "GridItem":
        from moganet.report import GridItem

        return GridItem(self.drawn(np.asarray(image), answer), ", ".join(answer.names[:2]), None)

    def drawn(self, image: NDArray[np.uint8], answer: Segmentation) -> NDArray[np.uint8]:
        return answer.overlay(in_colours(image)).transpose(2, 0, 1)

    def tiled(self, description: TaskDescription, side: int) -> SegmentDescription:
        step = max(1, side * 2 // 3)
        return _own(description).changed(window=Window(size=(side, side), stride=(step, step)))

    def truth(self, targets: "Targets", place: int, class_names: Sequence[str]) -> tuple[str, ...] | None:
        present = np.flatnonzero(targets.strata()[place]) if targets.have_places else None
        return None if present is None else tuple(class_names[i] for i in present.tolist())

    def writer(self, out: Path, files: Sequence[str], description: TaskDescription) -> Writer:
        from moganet.tasks.segment.writing import MaskWriter

        return MaskWriter(out, files, _own(description))

    def region(self, outputs: Outputs, target: int | None, box: Sequence[float] | None) -> tuple[Array, int]:
        labels = outputs["logits"][0].argmax(0)
        weights = np.ones(labels.shape, np.float32)
        if box is not None:
            height, width = labels.shape
            left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
            weights[:] = 0
            rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
            columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
            weights[rows, columns] = 1
        inside = labels[weights > 0]
        if not len(inside):
            raise DataError("the region lies outside the image")
        chosen = int(np.bincount(inside).argmax()) if target is None else target
        if box is None:
            weights = (labels == chosen).astype(np.float32)
        if not weights.any():
            raise DataError("no pixel is answered to be of that class; give a region, or another class")
        return weights, chosen

    def focused(self, network: "nn.Module", weights: Array) -> "nn.Module":
        import torch

        from moganet.tasks.segment.focus import Focus

        return Focus(network, torch.from_numpy(weights))

    def kept(self, outputs: Outputs, targets: Any, description: TaskDescription) -> "tuple[Tensor, Tensor]":
        from moganet.tasks.segment.report import counted

        return counted(outputs, targets, _own(description))

    def draw(self, evaluation: Any, class_names: Sequence[str], folder: Path) -> list[str]:
        from moganet.report.confusion import draw_confusion

        matrix, place = np.array(evaluation.confusion), folder / "confusion.png"
        draw_confusion(matrix, class_names, place, evaluation.headline(), shares=True)
        return [place.name]

    def report(self, seen: "Seen") -> "Reported":
        from moganet.tasks.segment.report import compose

        return compose(seen)

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating]:
        alike = given["logits"].argmax(1) == expected["logits"].argmax(1)
        return np.asarray(alike.mean((1, 2)))


def _own(description: TaskDescription) -> SegmentDescription:
    assert isinstance(description, SegmentDescription)
    return description


def _weights(recipe: Recipe, dataset: "Dataset") -> "Tensor | None":
    import torch

    from moganet.tasks.module import weights_of_classes
    from moganet.tasks.segment.losses import class_weights

    assert isinstance(recipe.loss, SegmentLoss)
    asked = recipe.loss.class_weights

    def by_areas(targets: "Targets") -> "Tensor":
        areas = targets.areas()
        assert areas is not None  # as check() saw
        return class_weights(torch.from_numpy(areas), power=1.0 if asked == "balanced" else 0.5)

    return weights_of_classes("loss.class_weights", asked, dataset, by_areas)
