"""A detector's part of the report: its figures, classes, curves, what it misses and mistakes, and the worst images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.numbers import percent
from moganet.report.boxes import things_of, with_things
from moganet.report.charts import Series, share_chart
from moganet.report.page import Fact, Section
from moganet.tasks.detect.answers import Detections
from moganet.tasks.detect.coco import evaluated
from moganet.tasks.detect.counting import Counted, Curve, counted, curves
from moganet.tasks.detect.description import DetectDescription
from moganet.tasks.detect.evaluation import Confused, OfSize, measured
from moganet.tasks.detect.scenes import scenes_of, unpacked
from moganet.tasks.report import Reported, Seen, SideBySide, classes_section
from moganet.tasks.task import Outputs

ROOM = "moganet.tasks.detect"  # which holds the templates
MAX_WORST, MAX_TAKEN, POINTS = 12, 15, 60
SIDE = 480  # pixels, of the longer side of a picture


def packed(outputs: Outputs, targets: Any) -> tuple[Tensor, Tensor]:
    """Give what is there and what was found in images as bytes (n,), and a number an image; pixels are read again."""
    lines = b"".join(scene.packed() for scene in scenes_of(outputs, targets))
    return torch.frombuffer(bytearray(lines), dtype=torch.uint8), torch.zeros(len(targets))


def compose(seen: Seen) -> Reported:
    """Say how good a detector is."""
    description = seen.description
    assert isinstance(description, DetectDescription)
    scenes = unpacked(seen.answers.outputs.numpy().tobytes())
    every = [counted(scene) for scene in scenes]
    sets = evaluated(scenes, description.class_names)
    found = measured(every, sets, description, [])
    box, mask = found["box"], found.get("mask")
    masks = "" if mask is None else f", of masks {percent(mask.ap)}"
    shown = [one for one in found["per_class"] if one.objects or one.precision is not None]
    return Reported(
        f"AP of boxes {percent(box.ap)}{masks} of {len(scenes):,} {seen.data} images",
        f"AP {percent(box.ap)}{masks} of {len(scenes)} {seen.answers.name} images",
        _facts(found),
        [
            classes_section(shown, "ap", ("AP", "objects"), f"{ROOM}/classes.html"),
            curves_section(every, len(description.class_names)),
            sizes_section(found["by_size"]),
            taken_section(found["confused"]),
            worst_section(seen, every, description),
        ],
        {"ap": box.ap, "ap50": box.ap50, **({} if mask is None else {"mask_ap": mask.ap, "mask_ap50": mask.ap50})},
    )


def _facts(found: Mapping[str, Any]) -> list[Fact]:
    facts: list[Fact] = []
    for kind, name in (("box", "boxes"), ("mask", "masks")):
        if (figures := found.get(kind)) is not None:
            more = f"{percent(figures.ap50)} at IoU 0.5, {percent(figures.ap75)} at 0.75"
            facts.append((f"AP of {name}", percent(figures.ap), more))
    right, wrong, missed = (found[key] for key in ("right", "wrong", "missed"))
    return [*facts, ("Objects found", f"{right:,} of {right + missed:,}", f"{wrong:,} answers are none")]


def curves_section(every: Sequence[Counted], num_classes: int) -> Section:
    """Show precision over recall, of all classes together and of a class in the mean."""
    by_class, together = curves(every, num_classes)
    grid = np.linspace(0, 1, POINTS)
    known = [_precision_at(one, grid) for one in by_class if one.objects]
    lines = [Series("all together", "a", _points(grid, _precision_at(together, grid)))]
    if len(known) > 1:
        lines.append(Series("mean of the classes", "b", _points(grid, np.mean(known, 0))))
    chart = share_chart(lines, "Precision over recall at an IoU of 0.5", "recall")
    found = f"{percent(float(together.recall[-1]))} of the objects are" if len(together.recall) else "Nothing is"
    title = f"{found} found by an answer of any score"
    return Section("Precision and recall", title, f"{ROOM}/curves.html", {"chart": chart, "lines": lines})


def _precision_at(curve: Curve, recalls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the best precision at each recall or beyond it, 0 where that is not reached."""
    if not len(curve.recall):
        return np.zeros(len(recalls))
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    places = np.searchsorted(curve.recall, recalls - 1e-12)
    return np.where(places < len(best), best[places.clip(0, len(best) - 1)], 0.0)


def _points(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> list[tuple[float, float]]:
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def sizes_section(by_size: Sequence[OfSize]) -> Section:
    """Show how many objects of each size are found."""
    known = [one for one in by_size if one.objects]
    if not known:
        return Section("Sizes", "There is no object", f"{ROOM}/sizes.html", {"rows": []})
    worst = min(known, key=lambda one: one.found / one.objects)
    missed = worst.objects - worst.found
    title = f"Of {worst.size} objects {missed:,} of {worst.objects:,} are missed" if missed else "No object is missed"
    rows = [{"size": one.size, "objects": one.objects, "found": one.found / one.objects} for one in known]
    return Section("Sizes", title, f"{ROOM}/sizes.html", {"rows": rows})


def taken_section(confused: Sequence[Confused]) -> Section:
    """Show what is most often taken for what."""
    title = "No object is taken for another class's"
    if confused:
        first = confused[0]
        title = f"Most often “{first.name}” is taken for “{first.taken_for}”: {first.objects:,} times"
    return Section("Confusion", title, f"{ROOM}/taken.html", {"rows": confused[:MAX_TAKEN]})


def worst_section(seen: Seen, every: Sequence[Counted], description: DetectDescription) -> Section:
    """Show the images with the least share of right answers: with what is marked, and with what is found."""
    thresholds = np.array(description.cuts)
    scores = np.array([_score(one, thresholds) for one in every])
    order = np.argsort(scores, kind="stable")[:MAX_WORST].tolist()

    def draw(
        number: int, image: NDArray[np.uint8], target: Any, answer: Detections
    ) -> tuple[list[NDArray[np.uint8]], str]:
        marked = things_of(
            target["boxes"], target["labels"], description.class_names, target.get("masks"), target["crowd"]
        )
        one = every[number]
        missed = int((~one.seen(thresholds) & ~one.crowd).sum())
        return [with_things(image, marked), answer.drawn(image)], f"{missed} missed"

    note = "Each image with what is marked in it, and with what was found."
    beside = SideBySide(note, ("What is marked in", "What was found in"), draw, SIDE)
    title = f"The worst image has F1 {percent(scores.min())}, the best {percent(scores.max())}"
    return beside.section("Worst images", title, seen, order)


def _score(one: Counted, thresholds: NDArray[np.float64]) -> float:
    """Give the F1 of an image's answers; 1 where nothing is there and nothing is said."""
    right, said, there = one.seen(thresholds).sum(), one.said(thresholds).sum(), (~one.crowd).sum()
    return 2 * float(right) / float(said + there) if said + there else 1.0
