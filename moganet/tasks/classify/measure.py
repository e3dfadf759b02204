"""What a classifier's answers are worth on labelled images: accuracy, confusion, and how well it knows its errors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from moganet.notices import say

CALIBRATION_BINS = 15  # as in Guo et al. 2017


def measure(logits: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Give what `evaluate` says of logits (N, classes) and labels (N,), the model's indices."""
    classes = len(class_names)
    ranks = logits.topk(min(5, classes), dim=1).indices == labels[:, None]
    top1 = ranks[:, 0].float().mean().item()
    confusion = multiclass_confusion_matrix(logits, labels, classes) if classes > 1 else torch.tensor([[len(labels)]])
    return {
        "top1": top1,
        "top5": ranks.any(1).float().mean().item(),
        "loss": F.cross_entropy(logits, labels).item(),
        "ece": calibration_error(logits, labels),
        "ece_by_chance": ece_by_chance(logits.softmax(1).amax(1)),
        "interval": list(wilson_interval(top1, len(labels))),
        "per_class": _per_class(confusion.double(), class_names),
        "confusion": confusion.tolist(),
    }


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Give the expected calibration error of logits (N, classes), which is 0 where there is nothing to choose."""
    classes = logits.shape[1]
    if classes < 2:
        return 0.0
    return float(multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=CALIBRATION_BINS))


def wilson_interval(share: float, number: int, z: float = 1.959964) -> tuple[float, float]:
    """Give the 95 % interval of a share among `number` trials (Wilson 1927)."""
    center = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)


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


def _per_class(confusion: Tensor, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Give precision, recall and F1 from counts (truth, predicted).

    All are None where the class has no images, and precision is where it is never predicted: nothing was measured.
    """
    right, true, predicted = (part.tolist() for part in (confusion.diagonal(), confusion.sum(1), confusion.sum(0)))
    rows: list[dict[str, Any]] = []
    for name, hits, images, answers in zip(class_names, right, true, predicted, strict=True):
        row: dict[str, Any] = {"name": name, "precision": None, "recall": None, "f1": None, "num_images": int(images)}
        if images:
            row |= {"recall": hits / images, "f1": 2 * hits / (images + answers)}
            row["precision"] = hits / answers if answers else None
        rows.append(row)
    return rows


def say_absent(per_class: list[dict[str, Any]], split: str) -> None:
    """Say which classes a split has no images of, since nothing was measured of them."""
    absent = [row["name"] for row in per_class if not row["num_images"]]
    if absent:
        names = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        say(f"{len(absent)} of {len(per_class)} classes have no images in {split}, and no figures: {names}")
