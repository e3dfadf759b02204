"""Detection as a task."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import BoxHead, Preprocessing, Recipe, TaskSettings
from moganet.errors import ConfigError, DataError
from moganet.results import Metric
from moganet.tasks.by_image import TaskByImage, refuse_blending
from moganet.tasks.detect.answers import COLUMNS, Detections, DetectRow, Marked, Runs, counted_names, detections
from moganet.tasks.detect.counting import IOU
from moganet.tasks.detect.description import DetectDescription, DetectLoss, DetectSettings
from moganet.tasks.detect.scenes import results_of, runs_text
from moganet.tasks.detect.seeing import Ask, found_things, look
from moganet.tasks.detect.tiling import by_tiles, tiles_of
from moganet.tasks.records import CocoResult, Row
from moganet.tasks.task import Array, Asked, Masks, Outputs, TaskDescription, Writer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.report import GridItem
    from moganet.tasks.detect.evaluation import DetectEvaluation
    from moganet.tasks.detect.evaluator import DetectEvaluator
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.report import Reported, Seen

SAME_PIXELS = 1.0  # that a side of a box may differ between two forms of a network
NO_BOXES = "give images with boxes, --data coco:DIR or yolo:DIR, or use another recipe or model"


class Detect(TaskByImage):
    """Objects: a box, a class, and perhaps a mask each."""

    name = "detect"
    settings, loss, description = DetectSettings, DetectLoss, DetectDescription
    metrics = (
        Metric("ap", "AP of boxes", "average precision of boxes", "AP"),
        Metric("mask_ap", "AP of masks", "average precision of masks", "mask AP"),
    )
    outputs = ("boxes", "scores", "labels")
    columns = COLUMNS
    pipeline = "object-detection"
    guards, sized = False, True
    unexplained = "what a detector finds is not explained; explain the classifier whose weights it began from"

    @property
    def evaluation(self) -> "type[DetectEvaluation]":
        from moganet.tasks.detect.evaluation import DetectEvaluation

        return DetectEvaluation

    # Data and training

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        for name, split in dataset.distinct().items():
            if not split.targets.may_differ:
                raise DataError(f"in the images of {dataset.spec} no boxes are marked; {NO_BOXES}")
            if training and name == "train" and not split.targets.strata().any():
                raise DataError(f"nothing is marked in the training images of {dataset.spec}: nothing can be learned")

    def describe(self, dataset: "Dataset", settings: TaskSettings) -> DetectDescription:
        ids = next(iter(dataset.splits.values())).targets.category_ids
        return DetectDescription(name="detect", class_names=dataset.class_names, category_ids=ids)

    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        from moganet.tasks.detect.training import DetectTraining

        assert isinstance(recipe.task, DetectSettings)
        refuse_blending(recipe, "no boxes")
        assert isinstance(recipe.task.head, BoxHead)
        if recipe.task.head.masks and not dataset.split("train").targets.has_masks:
            how = "--set task.head.masks=false learns boxes alone"
            raise ConfigError(f"the head learns masks, and {dataset.spec} has boxes without outlines; {how}")
        return DetectTraining(network, self.describe(dataset, recipe.task), learning)

    def preview(
        self, image: NDArray[np.uint8], target: Any, description: TaskDescription
    ) -> tuple[NDArray[np.uint8], str]:
        from moganet.report.boxes import things_of, with_things

        names = description.class_names
        things = things_of(target["boxes"], target["labels"], names, target.get("masks"))
        said = counted_names([names[i] for i in target["labels"].tolist()])
        return with_things(image, things).transpose(2, 0, 1), said

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "DetectEvaluator":
        from moganet.tasks.detect.evaluator import DetectEvaluator

        return DetectEvaluator(_own(description), keeps=keeps)

    # Answers

    def see(
        self,
        pixels: NDArray[np.uint8],
        ask: Ask,
        description: TaskDescription,
        preprocessing: Preprocessing,
        boxes: Array | None = None,
    ) -> Outputs:
        window, find = _own(description).window, partial(look, ask=ask, preprocessing=preprocessing)
        is_large = window is not None and max(pixels.shape[-2:]) > max(window.size)
        return by_tiles(pixels, window, find, IOU) if window is not None and is_large else find(pixels)

    def handed(self, outputs: Outputs, sizes: Sequence[tuple[int, int]] | None) -> list[dict[str, NDArray[Any]]]:
        assert sizes is not None
        return found_things(outputs, sizes)

    def tiled(self, description: TaskDescription, side: int) -> DetectDescription:
        return _own(description).changed(window=tiles_of(side))

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        raise ConfigError("a detector has a score a box, and no probabilities of an image's classes")

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Detections]:
        return detections(outputs, description.class_names, _own(description).cuts, asked.top_k)

    def boxes_of(self, answer: Detections, class_name: str) -> Array:
        kept = [i for i in answer.shown if answer.class_names[answer.labels[i]] == class_name]
        corners = answer.boxes[kept].reshape(-1, 4).astype(np.float64)
        return np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], answer.scores[kept]])

    def sent(self, row: Row, answer: Detections, masks: Masks) -> Row:
        if masks != "rle" or answer.masks is None or not isinstance(row, DetectRow):
            return row
        masks_of = (mask for mask in map(answer.mask, answer.shown) if mask is not None)
        runs = [Runs(size=answer.size, counts=runs_text(mask)) for mask in masks_of]
        return row.changed(objects=[one.changed(mask=mask) for one, mask in zip(row.objects, runs, strict=True)])

    def colours(self, answer: Detections) -> Mapping[str, tuple[int, int, int]]:
        from moganet.report.boxes import colours_of

        every = dict(zip(answer.class_names, colours_of(len(answer.class_names)), strict=True))
        return {name: every[name] for name in answer.names}

    def row(self, file: str, answer: Detections, truth: Any, *, trained: bool) -> DetectRow:
        return DetectRow.of(file, answer, truth, trained=trained)

    def drawn(self, image: NDArray[np.uint8], answer: Detections) -> NDArray[np.uint8]:
        return answer.drawn(image).transpose(2, 0, 1)

    def picture(self, image: Any, answer: Detections, truth: Any) -> "GridItem":
        from moganet.report import GridItem

        return GridItem(self.drawn(np.asarray(image), answer), answer.said(), None)

    def results(self, answer: Detections, image: int, description: TaskDescription) -> list[CocoResult]:
        return results_of(answer.things(), image, answer.size, _own(description).numbers)

    def truth(self, targets: "Targets", place: int, class_names: Sequence[str]) -> tuple[Marked, ...] | None:
        if not targets.may_differ:
            return None
        target = targets[place]
        both = zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True)
        return tuple(Marked(name=class_names[label], box=tuple(box)) for label, box in both)

    def names_found(self, answer: Detections) -> Sequence[str]:
        return answer.names

    def writer(self, out: Path, files: Sequence[str], description: TaskDescription) -> Writer:
        from moganet.tasks.detect.writing import ObjectWriter

        return ObjectWriter(out, files, _own(description))

    def kept(self, outputs: Outputs, targets: Any, description: TaskDescription) -> "tuple[Tensor, Tensor]":
        from moganet.tasks.detect.report import packed

        return packed(outputs, targets)

    def report(self, seen: "Seen") -> "Reported":
        from moganet.tasks.detect.report import compose

        return compose(seen)

    # Exports

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating]:
        """Give the share of the boxes that both find in each image, of a class, with sides a pixel apart at most."""
        return np.array([_shared(given, expected, i) for i in range(len(expected["labels"]))])


def _shared(given: Outputs, expected: Outputs, i: int) -> float:
    ours, theirs = given["labels"][i], expected["labels"][i]
    number, most = int((theirs >= 0).sum()), max(int((ours >= 0).sum()), int((theirs >= 0).sum()))
    if not most:
        return 1.0
    apart = np.abs(given["boxes"][i][:, None] - expected["boxes"][i][None, :number]).max(2)
    fits = (apart <= SAME_PIXELS) & (ours[:, None] == theirs[None, :number])
    return float(fits.any(0).sum()) / most


def _own(description: TaskDescription) -> DetectDescription:
    assert isinstance(description, DetectDescription)
    return description
