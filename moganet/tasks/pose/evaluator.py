"""How good a network for key points is: COCO's OKS AP, and how exactly each key point is found."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric

from moganet.data.given_boxes import WHOLE
from moganet.numbers import count, percent
from moganet.results import Record
from moganet.tasks.evaluator import Evaluator, Gathered
from moganet.tasks.pose.description import PoseDescription
from moganet.tasks.pose.oks import Poses, Truth, measure
from moganet.tasks.pose.rows import (
    FOUND,
    MARKED,
    Rows,
    found_rows,
    marked_in_crops,
    marked_rows,
    of_image,
    once,
    paired,
    told,
)
from moganet.tasks.pose.scores import likeness
from moganet.tasks.records import Evaluation, Table

CLOSE = 0.5  # likeness, from which on a key point counts as found


class OfPoint(Record):
    """What was found of a key point, in poses in which it is marked: fractions, None where it is in none.

    likeness: the mean of OKS for it alone. found: how many lie so near that this is at least 0.5. error: the median
    distance, as a share of the root of the area.
    """

    name: str
    marked: int
    likeness: float | None
    found: float | None
    error: float | None


class PoseEvaluation(Evaluation):
    """COCO's figures of key points, on the boxes that the data mark, or on others (`boxes`).

    ap, ar: means over OKS from 0.50 to 0.95; ap50, ap75, ar50, ar75: at one; …_medium, …_large: of things of 32² to 96²
    pixels, and of more. poses: how many are marked. loss: the mean squared difference of heat maps. per_point: of poses
    in marked boxes, or in others that overlap these by half.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None
    ar50: float | None
    ar75: float | None
    ar_medium: float | None
    ar_large: float | None
    loss: float | None
    poses: int
    per_point: tuple[OfPoint, ...]

    def headline(self) -> str:
        """Say the AP."""
        return f"OKS AP {percent(self.ap, 2)} of {count(self.poses, 'pose')} in {self.num_images} {self.split} images"

    def lines(self) -> Iterable[str]:
        """Say the figures, a line each."""
        yield f"AP {percent(self.ap, 2)}, at OKS 0.50 {percent(self.ap50, 2)}, at 0.75 {percent(self.ap75, 2)}"
        yield f"AR {percent(self.ar, 2)}, at OKS 0.50 {percent(self.ar50, 2)}, at 0.75 {percent(self.ar75, 2)}"
        yield f"AP of medium size {percent(self.ap_medium, 2)}, of large {percent(self.ap_large, 2)}"
        loss = "–" if self.loss is None else format(self.loss, ".3g")
        usual = {None: "on the boxes that the data mark", WHOLE: "on whole images"}
        where = usual.get(self.boxes, f"in the boxes of {self.boxes}")
        yield f"loss {loss}, {count(self.poses, 'pose')} {where}"

    def table(self) -> Table:
        """Give the figures of each key point."""
        numbers = ("marked", "likeness", "found", "error")
        keys = ("likeness", "found", "error")
        rows = [(one.name, f"{one.marked:,}", *(percent(one[key]) for key in keys)) for one in self.per_point]
        return Table(("key point", *numbers), rows, numbers)


class OksAp(Gathered):
    """Mean average precision by OKS of all that came: rows of what was found, and of what is marked (`rows`)."""

    found: list[Tensor]
    marked: list[Tensor]

    def __init__(self, description: PoseDescription) -> None:
        before, numbers = {"found": FOUND, "marked": MARKED}, 3 * len(description.class_names)
        super().__init__(**{name: torch.empty(0, n + numbers, dtype=torch.float64) for name, n in before.items()})
        self.description = description

    def update(self, found: Tensor, marked: Tensor) -> None:
        self.found.append(found)
        self.marked.append(marked)

    def compute(self) -> Tensor:
        truth, poses = told(*self.rows(), len(self.description.class_names))
        return torch.tensor(measure(truth, poses, self.description.skeleton.sigmas)["ap"] or 0.0)

    def rows(self) -> tuple[Rows, Rows]:
        """Give what came, each thing but once."""
        return once(self.joined("found")), once(self.joined("marked"))


class PoseEvaluator(Evaluator):
    """Measure heat maps (N, K, h, w) against what is marked: of one image's boxes, or of a batch of crops.

    truth: of crops, the rows of all that is marked in the images that they are of; None is the things themselves. loss:
    of crops.
    """

    def __init__(
        self, description: PoseDescription, truth: Tensor | None = None, loss: Callable[..., Tensor] | None = None
    ) -> None:
        super().__init__({"loss": MeanMetric(nan_strategy="ignore"), "ap": OksAp(description)}, keeps=False)
        self.description, self.truth, self.loss = description, truth, loss

    def measure(self, outputs: Mapping[str, Tensor], targets: Any) -> None:
        """Take a batch."""
        ap = self.figures()["ap"]
        if isinstance(targets, list):
            for target in targets:
                ap.update(of_image(outputs, target), marked_rows(target))
            return
        heatmaps = outputs["heatmaps"]
        if self.loss is not None:
            self.figures()["loss"].update(self.loss(heatmaps, targets["places"]), len(heatmaps))
        boxes = F.pad(targets["box"], (0, 1), value=1.0)
        found = found_rows(heatmaps, targets["image"], targets["thing"], boxes, targets["part"])
        truth = marked_in_crops(targets) if self.truth is None else self.truth
        marked = truth[torch.isin(truth[:, 0], found[:, 0])]
        ap.update(*(rows.to(heatmaps.device, _type_on(heatmaps.device)) for rows in (found, marked)))

    def compute(self) -> dict[str, float]:
        """Give the figures of all that came: the loss is of crops alone."""
        return {name: float(metric.compute()) for name, metric in self.figures().items() if metric.update_called}

    def details(self) -> dict[str, Any]:
        """Give what PoseEvaluation says of all that came."""
        ap, loss = self.figures()["ap"], self.figures()["loss"]
        assert isinstance(ap, OksAp)
        known = float(loss.compute()) if loss.update_called else None
        return {**measured(*ap.rows(), self.description), "loss": known}


def _type_on(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # which has no other


def measured(found: Rows, marked: Rows, description: PoseDescription) -> dict[str, Any]:
    """Give the figures of rows."""
    joints = len(description.class_names)
    truth, poses = told(found, marked, joints)
    own, theirs = paired(found, marked)
    return {
        **measure(truth, poses, description.skeleton.sigmas),
        "poses": int(((truth.points[..., 2] > 0).any(1) & ~truth.crowds).sum()),
        "per_point": of_points(*told(own, theirs, joints), description),
    }


def of_points(truth: Truth, poses: Poses, description: PoseDescription) -> tuple[OfPoint, ...]:
    """Give what was found of each key point."""
    skeleton, marked = description.skeleton, truth.points[..., 2] > 0
    roots = np.sqrt(truth.areas.clip(np.spacing(1)))[:, None]
    away = np.linalg.norm(truth.points[..., :2] - poses.points[..., :2], axis=-1) / roots
    alike = likeness(poses.points, truth.points, truth.areas, skeleton.sigmas)
    made = []
    for i, name in enumerate(skeleton.names):
        own = marked[:, i]
        known: dict[str, float | None] = dict.fromkeys(("likeness", "found", "error"))
        if own.any():
            near, far = alike[own, i], float(np.median(away[own, i]))
            known = {"likeness": float(near.mean()), "found": float((near >= CLOSE).mean()), "error": far}
        made.append(OfPoint(name=name, marked=int(own.sum()), **known))
    return tuple(made)
