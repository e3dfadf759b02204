"""Key points of people, or of other things in boxes, as a task."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Preprocessing, Recipe, TaskSettings
from moganet.data.box_crop import crops_of, parts_of, whole_box
from moganet.data.resample import normalize
from moganet.errors import ConfigError, DataError
from moganet.report.masks import in_colours
from moganet.report.poses import draw_poses
from moganet.results import Metric
from moganet.tasks.by_image import TaskByImage, refuse_blending
from moganet.tasks.pose.answers import COLUMNS, PoseRow, Poses
from moganet.tasks.pose.description import PoseDescription, PoseLoss, PoseSettings
from moganet.tasks.pose.heatmaps import decoded, in_image, mirrored_back
from moganet.tasks.pose.scores import scores_of
from moganet.tasks.task import Array, Asked, Outputs, TaskDescription, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from moganet.data import Dataset
    from moganet.data.targets import Targets
    from moganet.report import GridItem
    from moganet.tasks.module import Learning, TaskModule
    from moganet.tasks.pose.evaluator import PoseEvaluation, PoseEvaluator
    from moganet.tasks.records import CocoResult
    from moganet.tasks.report import Reported, Seen

CROPS = 32  # that go through the network at once
STRIDE = 4  # pixels of a crop by places of a heat map, where nothing says where the crop lies


class Pose(TaskByImage):
    """A heat map a key point, for each box in an image."""

    name = "pose"
    settings, loss, description = PoseSettings, PoseLoss, PoseDescription
    metrics = (Metric("ap", "OKS AP", "mean average precision by OKS", "AP"),)
    outputs = ("heatmaps",)
    activation = "none"
    columns = COLUMNS
    pipeline = "keypoint-detection"
    guards, takes_boxes = False, True
    unexplained = "what explains classes does not explain places of key points: ask a classifier"

    @property
    def evaluation(self) -> "type[PoseEvaluation]":
        from moganet.tasks.pose.evaluator import PoseEvaluation

        return PoseEvaluation

    # Data and training

    def check(self, dataset: "Dataset", *, training: bool) -> None:
        for name, split in dataset.distinct().items():
            marked = split.targets.key_points()
            if marked is None:
                how = "give COCO's person_keypoints files, --data keypoints:DIR, or use another recipe or model"
                raise DataError(f"{dataset.spec} has no key points; {how}")
            if training and name == "train" and not marked.any():
                raise DataError(f"no key point is marked in the training images of {dataset.spec}; nothing to learn")

    def samples(self, dataset: "Dataset") -> "Dataset":
        from moganet.data.people_targets import apart

        return apart(dataset)

    def describe(self, dataset: "Dataset", settings: TaskSettings) -> PoseDescription:
        from moganet.data.people_targets import PeopleTargets

        targets = next(iter(dataset.splits.values())).targets
        assert isinstance(targets, PeopleTargets)
        own = targets.marks.skeleton
        known = {"lines": own.lines, "mirrored": own.mirrored, "sigmas": own.sigmas}
        return PoseDescription(class_names=dataset.class_names, **known)

    def module(self, network: "nn.Module", recipe: Recipe, dataset: "Dataset", learning: "Learning") -> "TaskModule":
        from moganet.tasks.pose.training import PoseTraining, truth_of

        if (mode := recipe.preprocessing.crop_mode) != "box":
            raise ConfigError(f"preprocessing.crop_mode {mode} does not see the boxes of key points; use box")
        refuse_blending(recipe, "not key points")
        description = self.describe(dataset, recipe.task)
        return PoseTraining(network, description, learning, recipe.preprocessing, truth_of(dataset))

    def preview(
        self, image: NDArray[np.uint8], target: Any, description: TaskDescription
    ) -> tuple[NDArray[np.uint8], str]:
        places = np.asarray(target["places"], np.float64)
        drawn = draw_poses(in_colours(image), places[None], None, _own(description).skeleton)
        return drawn.transpose(2, 0, 1), f"{int((places[:, 2] > 0).sum())} of {len(places)} marked"

    def evaluator(self, description: TaskDescription, *, keeps: bool) -> "PoseEvaluator":
        from moganet.tasks.pose.evaluator import PoseEvaluator

        return PoseEvaluator(_own(description))

    # Answers

    def see(
        self,
        pixels: NDArray[np.uint8],
        ask: "Callable[[Array], Outputs]",
        description: TaskDescription,
        preprocessing: Preprocessing,
        boxes: Array | None = None,
    ) -> Outputs:
        boxes = np.column_stack([whole_box(pixels), [1.0]]) if boxes is None else boxes
        height, width = preprocessing.size
        found: list[Array] = [
            np.zeros((0, len(description.class_names), height // STRIDE, width // STRIDE), np.float32)
        ]
        for start in range(0, len(boxes), CROPS):
            crops = crops_of(pixels, boxes[start : start + CROPS], preprocessing)
            found.append(ask(normalize(crops, preprocessing))["heatmaps"])
        heatmaps = np.concatenate(found[1:] or found)
        return {"heatmaps": heatmaps, "boxes": boxes, "parts": parts_of(boxes, preprocessing)}

    def probabilities(self, outputs: Outputs, description: TaskDescription, *, calibrated: bool = False) -> Array:
        return outputs["heatmaps"]

    def logits_of(self, probabilities: Array) -> Array:
        return np.asarray(probabilities, np.float32)

    def mirrored(self, probabilities: Array, description: TaskDescription) -> Array:
        return mirrored_back(probabilities, _own(description).skeleton.mirrored)

    def answers(self, outputs: Outputs, description: TaskDescription, asked: Asked) -> list[Poses]:
        heatmaps, skeleton = outputs["heatmaps"], _own(description).skeleton
        points, size = decoded(heatmaps), (heatmaps.shape[2], heatmaps.shape[3])
        if "parts" in outputs:
            placed, boxes = in_image(points, outputs["parts"], size), np.asarray(outputs["boxes"], np.float64)
            return [Poses(placed, boxes, scores_of(placed, boxes), skeleton)]
        wide, high = size[1] * STRIDE, size[0] * STRIDE
        whole, part = np.array([[0.0, 0, wide, high, 1]]), np.array([[wide / 2, high / 2, wide, high]])
        placed = in_image(points, part, size)
        return [Poses(one[None], whole, scores_of(one[None], whole), skeleton) for one in placed]

    def row(self, file: str, answer: Poses, truth: Any, *, trained: bool) -> PoseRow:
        return PoseRow.of(file, answer, truth, trained=trained)

    def results(self, answer: Poses, image: int, description: TaskDescription) -> "list[CocoResult]":
        return [answer.result(place, image) for place in answer.apart()]

    def picture(self, image: Any, answer: Poses, truth: Any) -> "GridItem":
        from moganet.report import GridItem

        text = f"{len(answer)} pose{'s'[: len(answer) != 1]}"
        return GridItem(None if image is None else self.drawn(np.asarray(image), answer), text, None)

    def drawn(self, image: NDArray[np.uint8], answer: Poses) -> NDArray[np.uint8]:
        return answer.overlay(in_colours(image)).transpose(2, 0, 1)

    def truth(self, targets: "Targets", place: int, class_names: Sequence[str]) -> str | None:
        return targets.text(place, class_names) if targets.key_points() is not None else None

    def writer(self, out: Path, files: Sequence[str], description: TaskDescription) -> Writer:
        from moganet.tasks.pose.writing import PoseWriter

        return PoseWriter(out, files, _own(description).skeleton)

    def kept(self, outputs: Outputs, targets: Any, description: TaskDescription) -> "tuple[Tensor, Tensor]":
        import torch

        from moganet.tasks.pose.rows import marked_rows, of_image

        given = {name: torch.from_numpy(np.asarray(values)) for name, values in outputs.items()}
        return of_image(given, targets[0])[None], marked_rows(targets[0])[None]

    def say(self, figures: Any) -> str | None:
        said = super().say(figures)
        return None if said is None else f"OKS {said}"

    def report(self, seen: "Seen") -> "Reported":
        from moganet.tasks.pose.report import compose

        return compose(seen)

    def same(self, given: Outputs, expected: Outputs, description: TaskDescription) -> NDArray[np.floating]:
        """Give the share of the key points that lie within half a place of a heat map of each other."""
        one, other = (decoded(outputs["heatmaps"])[..., :2] for outputs in (given, expected))
        return np.asarray((np.abs(one - other).max(-1) <= 0.5).mean(-1))


def _own(description: TaskDescription) -> PoseDescription:
    assert isinstance(description, PoseDescription)
    return description
