"""What is right, wrong and missed, an answer or an object a line, by file."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from moganet.tasks.detect.counting import NOTHING, Counted, taken_for

COLUMNS = ("file", "outcome", "name", "score", "left", "top", "right", "bottom", "iou", "instead")
RIGHT, WRONG, MISSED = "TP", "FP", "FN"


def listed(
    file: str, one: Counted, thresholds: NDArray[np.float64], class_names: Sequence[str]
) -> Iterator[tuple[object, ...]]:
    """Give an image's answers, the surest first, and the objects that it missed.

    instead: of a wrong answer the class of the object that it stands on, of a missed object the class it is taken for.
    """
    truth, found = one.scene.truth, one.scene.found
    pairs = taken_for(one, thresholds)
    object_under, answer_over = {answer: thing for thing, answer in pairs}, dict(pairs)
    said, seen = one.said(thresholds), one.seen(thresholds)
    for answer in np.argsort(-one.scores, kind="stable").tolist():
        if not said[answer]:
            continue
        thing = int(one.object_of[answer])
        outcome, under = (WRONG, object_under.get(answer)) if thing == NOTHING else (RIGHT, thing)
        iou = "" if under is None else f"{one.ious[answer, under]:.4f}"
        instead = class_names[truth.labels[under]] if outcome == WRONG and under is not None else ""
        name, score = class_names[found.labels[answer]], f"{one.scores[answer]:.6f}"
        yield file, outcome, name, score, *_sides(found.boxes[answer]), iou, instead
    for thing in np.flatnonzero(~seen & ~one.crowd).tolist():
        over = answer_over.get(thing)
        instead = "" if over is None else class_names[found.labels[over]]
        yield file, MISSED, class_names[truth.labels[thing]], "", *_sides(truth.boxes[thing]), "", instead


def _sides(box: NDArray[np.float64]) -> list[str]:
    return [f"{side:.2f}" for side in box.tolist()]
