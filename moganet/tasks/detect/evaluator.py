"""What measures a detector, in training and in `evaluate`: images as scenes, and COCO's figures of all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from moganet.tasks.answer_folder import write_rows
from moganet.tasks.detect.coco import OfSet, evaluated
from moganet.tasks.detect.counting import Counted, best_thresholds, counted
from moganet.tasks.detect.description import DetectDescription
from moganet.tasks.detect.evaluation import measured
from moganet.tasks.detect.listing import COLUMNS, listed
from moganet.tasks.detect.scenes import Scene, scenes_of, unpacked
from moganet.tasks.evaluator import Evaluator, Gathered
from moganet.tasks.task import TaskDescription

OBJECTS_FILE = "objects.csv"
KINDS = {"box": "ap", "mask": "mask_ap"}  # by the names of the figures


class BoxPrecision(Gathered):
    """COCO's average precision of boxes of all scenes that came; they are packed, a line of bytes an image.

    Of the last computation: sets, COCO's figures; every, what is right and wrong in each image, in their order;
    thresholds, each class's of the best F1.
    """

    lines: list[Tensor]

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(lines=torch.empty(0, dtype=torch.uint8))
        self.class_names = class_names
        self.sets: dict[str, OfSet] = {}
        self.every: list[Counted] = []
        self.thresholds: tuple[float, ...] = ()

    def update(self, scene: Scene) -> None:
        self.lines.append(torch.frombuffer(bytearray(scene.packed()), dtype=torch.uint8).to(self.device))

    def reset(self) -> None:
        super().reset()
        self.every = []

    def compute(self) -> Tensor:
        scenes = unpacked(self.joined("lines").cpu().numpy().tobytes())
        self.sets = evaluated(scenes, self.class_names)
        self.every = [counted(scene) for scene in scenes]
        self.thresholds = best_thresholds(self.every, len(self.class_names))
        return torch.tensor(self.sets["box"].figures.ap or 0.0, dtype=torch.float64)


class MaskPrecision(Metric):
    """The average precision of masks, which that of boxes finds too."""

    full_state_update = False

    def __init__(self, boxes: BoxPrecision) -> None:
        super().__init__()
        self.boxes = [boxes]  # in a list, so that it is no part of this one

    def update(self) -> None:
        """Nothing is kept here."""

    def compute(self) -> Tensor:
        self.boxes[0].compute()
        masks = self.boxes[0].sets.get("mask")
        return torch.tensor(0.0 if masks is None else masks.figures.ap or 0.0, dtype=torch.float64)


class DetectEvaluator(Evaluator):
    """Measure what was found in images, in their own pixels, against what is marked there.

    masks: whether there are masks, where that is known before an image comes.
    """

    def __init__(self, description: DetectDescription, *, keeps: bool, masks: bool | None = None) -> None:
        boxes = BoxPrecision(description.class_names)
        super().__init__({"ap": boxes, "mask_ap": MaskPrecision(boxes)}, keeps=False)
        self.description, self.boxes, self.masks = description, [boxes], masks

    def figures(self) -> dict[str, Metric]:
        """Give the metrics that are known: without masks, those of boxes."""
        every = super().figures()
        masks = every["mask_ap"].update_called if self.masks is None else self.masks
        return every if masks else {"ap": self.boxes[0]}

    def measure(self, outputs: Mapping[str, Tensor], targets: Any) -> None:
        for scene in scenes_of({name: one.cpu().numpy() for name, one in outputs.items()}, targets):
            self.boxes[0].update(scene)
            if scene.truth.runs is not None and scene.found.runs is not None:
                self.metrics["mask_ap"].update()  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        boxes = self.boxes[0]
        boxes.compute()
        return {KINDS[kind]: one.figures.ap or 0.0 for kind, one in boxes.sets.items()}

    def fitted(self, description: TaskDescription) -> TaskDescription:
        """Keep the thresholds of the best F1 on the validation images."""
        self.boxes[0].compute()
        return description.changed(thresholds=self.boxes[0].thresholds)

    def details(self) -> dict[str, Any]:
        """Give what DetectEvaluation says of all that came."""
        boxes = self.boxes[0]
        boxes.compute()
        return measured(boxes.every, boxes.sets, self.description, self.names)

    def write(self, folder: Path) -> list[str]:
        """Write every object and answer, a line each, by file."""
        thresholds = np.array(self.description.cuts)
        self.boxes[0].compute()
        images = zip(self.names, self.boxes[0].every, strict=True)
        rows = (listed(name, one, thresholds, self.description.class_names) for name, one in images)
        write_rows(folder / OBJECTS_FILE, COLUMNS, rows)
        return [OBJECTS_FILE]
