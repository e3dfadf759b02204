"""COCO's twelve figures of boxes and of masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.numbers import percent
from moganet.results import Record
from moganet.tasks.coco import Judge
from moganet.tasks.detect.scenes import Scene, as_sides, in_order, results_of

NAMES: tuple[str, ...] = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
KINDS = {"box": "bbox", "mask": "segm"}


class Figures(Record):
    """COCO's figures: fractions, None where no object is of that kind.

    ap: average precision, the mean over the classes and over IoU from 0.50 to 0.95; ap50, ap75: at one IoU. ar1, ar10,
    ar100: the recall of as many answers an image, the mean over the same IoU. small: of less than 32 x 32 pixels;
    large: of more than 96 x 96.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None

    def line(self) -> str:
        """Say the first three, and those by size."""
        by_size = " / ".join(percent(self[name]) for name in ("ap_small", "ap_medium", "ap_large"))
        precise = f"AP {percent(self.ap, 2)}, AP50 {percent(self.ap50, 2)}, AP75 {percent(self.ap75, 2)}"
        return f"{precise}, small / medium / large {by_size}, recall of 100 {percent(self.ar100, 2)}"


class OfSet:
    """What COCO's evaluation gives for one kind, "box" or "mask". ap, ap50: of each class (classes,), NaN if absent."""

    def __init__(self, figures: dict[str, float | None], evaluated: Any) -> None:
        self.figures = Figures(**figures)
        precision = np.asarray(evaluated.eval["precision"])[:, :, :, 0, -1]  # (IoUs, recalls, classes)
        self.ap, self.ap50 = _means(precision), _means(precision[:1])


def _means(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    measured = precision > -1
    totals = np.where(measured, precision, 0).sum((0, 1))
    return np.where(measured.any((0, 1)), totals / np.maximum(1, measured.sum((0, 1))), np.nan)


def evaluated(scenes: Sequence[Scene], class_names: Sequence[str]) -> dict[str, OfSet]:
    """Measure boxes, and masks where what is there and what was found has them. Raises MissingExtraError."""
    scenes = in_order(scenes)
    numbers = range(1, len(class_names) + 1)
    have_masks = all(one.truth.runs is not None and one.found.runs is not None for one in scenes) and bool(scenes)
    answers = [one for scene in scenes for one in results_of(scene.found, scene.image, scene.size, numbers)]
    judge = Judge(_truths(scenes, class_names), answers)
    return {kind: OfSet(*judge.judged(code, NAMES)) for kind, code in KINDS.items() if kind == "box" or have_masks}


def _truths(scenes: Sequence[Scene], class_names: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        truth = scene.truth
        assert truth.areas is not None and truth.crowd is not None
        for i, (box, label) in enumerate(zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True)):
            one = {
                "id": len(annotations) + 1,
                "image_id": scene.image,
                "category_id": label + 1,
                "bbox": as_sides(box),
                "area": float(truth.areas[i]),
                "iscrowd": int(truth.crowd[i]),
            }
            if truth.runs is not None:
                one["segmentation"] = {"size": list(scene.size), "counts": truth.runs[i]}
            annotations.append(one)
    return {
        "images": [{"id": one.image, "height": one.size[0], "width": one.size[1]} for one in scenes],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names, 1)],
    }
