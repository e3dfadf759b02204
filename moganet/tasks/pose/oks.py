"""COCO's figures of key points: likeness (OKS) in the place of boxes' overlap."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.coco import Judge
from moganet.tasks.pose.scores import scores_of, without_doubles

# COCO's ten, in its order: means over OKS from 0.50 to 0.95, at 0.50 and 0.75, and of persons by their area.
FIGURES = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")
Array = NDArray[np.floating[Any]]


class Truth(NamedTuple):
    """What is marked: images (N,), boxes (N, 4), points (N, K, 3), areas (N,), crowds (N,)."""

    images: NDArray[np.int64]
    boxes: Array
    points: Array
    areas: Array
    crowds: NDArray[np.bool_]


class Poses(NamedTuple):
    """What is answered: images (N,), points (N, K, 3) with their scores, boxes (N, 5) with theirs."""

    images: NDArray[np.int64]
    points: Array
    boxes: Array


def measure(truth: Truth, poses: Poses, sigmas: Sequence[float]) -> dict[str, float | None]:
    """Give COCO's ten figures; None where nothing is there to be found. Raises MissingExtraError."""
    if not len(truth.images):
        return dict.fromkeys(FIGURES)
    results = results_of(poses, sigmas)
    if not results:
        told = _ranges(truth)
        return {name: 0.0 if told[name.partition("_")[2]] else None for name in FIGURES}
    judge = Judge(annotations_of(truth, poses.images), results)
    figures, _ = judge.judged("keypoints", FIGURES, kpt_oks_sigmas=list(sigmas))
    return figures


def _ranges(truth: Truth) -> dict[str, bool]:
    counted = (truth.points[..., 2] > 0).any(1) & ~truth.crowds
    medium = counted & (truth.areas >= 32**2) & (truth.areas <= 96**2)
    large = counted & (truth.areas >= 96**2)
    return {"": bool(counted.any()), "medium": bool(medium.any()), "large": bool(large.any())}


def annotations_of(truth: Truth, others: Sequence[int] | NDArray[np.int64] = ()) -> dict[str, Any]:
    """Give what is marked as COCO's files of annotations have it. others: images in which nothing is."""
    annotations = [
        {
            "id": number,
            "image_id": int(image),
            "category_id": 1,
            "bbox": box.tolist(),
            "area": float(area),
            "iscrowd": int(crowd),
            "keypoints": points.ravel().tolist(),
            "num_keypoints": int((points[:, 2] > 0).sum()),
        }
        for number, (image, box, points, area, crowd) in enumerate(zip(*truth, strict=True), 1)
    ]
    images = [{"id": int(image)} for image in np.unique([*truth.images, *others])]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "pose"}]}


def results_of(poses: Poses, sigmas: Sequence[float]) -> list[dict[str, Any]]:
    """Give poses as COCO's list of results has them; of those that are of one person the best."""
    scores, results = scores_of(poses.points, poses.boxes), list[dict[str, Any]]()
    areas = poses.boxes[:, 2] * poses.boxes[:, 3]
    for image in np.unique(poses.images):
        own = np.flatnonzero(poses.images == image)
        for place in own[without_doubles(poses.points[own], scores[own], areas[own], sigmas)]:
            one = {"image_id": int(image), "category_id": 1, "score": float(scores[place])}
            results.append({**one, "keypoints": poses.points[place].ravel().tolist()})
    return results
