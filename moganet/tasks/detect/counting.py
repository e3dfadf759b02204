"""Which answers are right, object by object: hits and misses, curves, thresholds, and what is taken for what; numpy.

An answer is right if its box has an IoU of at least 0.5 with an object of its class that no surer answer has taken, as
COCO's evaluation decides; an answer over a crowd of its class is neither right nor wrong.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.detect.scenes import Scene
from moganet.tasks.overlaps import overlaps

IOU = 0.5
UNSET = 0.5  # the threshold of a class where nothing tells a better one
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}  # by area, as COCO's
NOTHING, CROWD = -1, -2


@dataclass(frozen=True, eq=False)
class Counted:
    """A scene's answers (n,) and objects (m,). object_of: which object each answer has found, NOTHING or CROWD.

    answer_of: which answer has found each object, or NOTHING. ious (n, m): of boxes; of a crowd's the answer's share.
    """

    scene: Scene
    object_of: NDArray[np.int64]
    answer_of: NDArray[np.int64]
    ious: NDArray[np.float64]

    @property
    def scores(self) -> NDArray[np.float64]:
        assert self.scene.found.scores is not None
        return self.scene.found.scores

    @property
    def crowd(self) -> NDArray[np.bool_]:
        assert self.scene.truth.crowd is not None
        return self.scene.truth.crowd

    def said(self, thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which answers (n,) are at or above their class's threshold, and not of a crowd."""
        return np.asarray((self.scores >= thresholds[self.scene.found.labels]) & (self.object_of != CROWD))

    def seen(self, thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which objects (m,) are found by an answer at or above its class's threshold."""
        known = self.answer_of >= 0
        seen = np.zeros(len(known), bool)
        seen[known] = self.said(thresholds)[self.answer_of[known]]
        return seen


def counted(scene: Scene) -> Counted:
    """Give each object to the surest answer of its class that covers it."""
    truth, found = scene.truth, scene.found
    assert truth.crowd is not None and found.scores is not None
    ious = overlaps(found.boxes, truth.boxes, truth.crowd)
    object_of, answer_of = np.full(len(found), NOTHING), np.full(len(truth), NOTHING)
    for answer in np.argsort(-found.scores, kind="stable").tolist():
        fits = (truth.labels == found.labels[answer]) & (ious[answer] >= IOU)
        free = np.flatnonzero(fits & ~truth.crowd & (answer_of == NOTHING))
        if len(free):
            chosen = int(free[ious[answer, free].argmax()])
            object_of[answer], answer_of[chosen] = chosen, answer
        elif (fits & truth.crowd).any():
            object_of[answer] = CROWD
    return Counted(scene, object_of, answer_of, ious)


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall at each score from the highest on (k,), of a class with so many objects."""

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: int

    def best(self) -> float | None:
        """Give the threshold of the best F1, in the middle between two scores; None where nothing tells it."""
        if not len(self.scores) or not self.objects or not self.precision.any():
            return None
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)
        place = int(f1.argmax())
        below = self.scores[place + 1] if place + 1 < len(self.scores) else 0.0
        return float((self.scores[place] + below) / 2)


def curve(scores: NDArray[np.float64], right: NDArray[np.bool_], objects: int) -> Curve:
    """Give the curve of answers with scores (k,), of which some are right; equal scores are one step of it."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, np.int64)
    given = np.arange(1, len(scores) + 1)
    return Curve(scores[last], (hits / given)[last], (hits / max(1, objects))[last], objects)


def curves(every: Sequence[Counted], num_classes: int) -> tuple[list[Curve], Curve]:
    """Give a curve of each class, and of all of them together."""
    told = [_told(one) for one in every]
    labels, scores, right = (np.concatenate([np.zeros(0), *(one[part] for one in told)]) for part in range(3))
    of_truth = [one.scene.truth.labels[~one.crowd] for one in every]
    objects = np.bincount(np.concatenate([np.zeros(0, np.int64), *of_truth]), minlength=num_classes)
    own = [labels == i for i in range(num_classes)]
    hits = right.astype(bool)
    by_class = [curve(scores[mine], hits[mine], int(objects[i])) for i, mine in enumerate(own)]
    return by_class, curve(scores, hits, int(objects.sum()))


def _told(one: Counted) -> tuple[NDArray[np.float64], ...]:
    counts = one.object_of != CROWD
    return one.scene.found.labels[counts].astype(float), one.scores[counts], (one.object_of >= 0)[counts].astype(float)


def best_thresholds(every: Sequence[Counted], num_classes: int) -> tuple[float, ...]:
    """Give each class the threshold of its best F1; a class that tells none has that of all classes together."""
    by_class, together = curves(every, num_classes)
    usual = together.best()
    usual = UNSET if usual is None else usual
    return tuple(usual if (own := one.best()) is None else own for one in by_class)


def found_by_size(every: Sequence[Counted], thresholds: NDArray[np.float64]) -> dict[str, tuple[int, int]]:
    """Count the objects of each size, and those of them that are found."""
    counts = {name: [0, 0] for name in SIZES}
    for one in every:
        assert one.scene.truth.areas is not None
        seen, areas = one.seen(thresholds), one.scene.truth.areas
        for name, (least, most) in SIZES.items():
            own = (areas >= least) & (areas < most) & ~one.crowd
            counts[name][0] += int(own.sum())
            counts[name][1] += int((own & seen).sum())
    return {name: (objects, found) for name, (objects, found) in counts.items()}


def taken_for(one: Counted, thresholds: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Give (object, answer) where an object that is not found lies under an answer of another class that is wrong."""
    wrong = np.flatnonzero(one.said(thresholds) & (one.object_of == NOTHING))
    missed = ~one.seen(thresholds) & ~one.crowd
    pairs: list[tuple[int, int]] = []
    for answer in wrong[np.argsort(-one.scores[wrong], kind="stable")].tolist():
        other = one.scene.truth.labels != one.scene.found.labels[answer]
        free = np.flatnonzero(missed & other & (one.ious[answer] >= IOU))
        if len(free):
            chosen = int(free[one.ious[answer, free].argmax()])
            missed[chosen] = False
            pairs.append((chosen, answer))
    return pairs


def confusions(every: Sequence[Counted], thresholds: NDArray[np.float64]) -> Counter[tuple[int, int]]:
    """Count (class of the object, class that it is taken for)."""
    found: Counter[tuple[int, int]] = Counter()
    for one in every:
        truth, answers = one.scene.truth.labels, one.scene.found.labels
        found.update((int(truth[i]), int(answers[j])) for i, j in taken_for(one, thresholds))
    return found
