"""The part of the report that key points have: COCO's figures, each key point, and the worst poses drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moganet.numbers import count, percent
from moganet.report.masks import in_colours
from moganet.report.page import Fact, Section
from moganet.report.poses import draw_poses
from moganet.tasks.pose.answers import Poses
from moganet.tasks.pose.description import PoseDescription
from moganet.tasks.pose.evaluator import measured
from moganet.tasks.pose.rows import FOUND, MARKED, Rows, once, paired
from moganet.tasks.pose.scores import likeness
from moganet.tasks.report import Reported, Seen, SideBySide, classes_section

ROOM = "moganet.tasks.pose"  # which holds the templates
MAX_WORST = 12


def compose(seen: Seen) -> Reported:
    """Say how good a network for key points is."""
    description = seen.description
    assert isinstance(description, PoseDescription)
    found, marked = (once(rows.flatten(0, 1)) for rows in (seen.answers.outputs, seen.answers.targets))
    figures = measured(found, marked, description)
    ap, poses = percent(figures["ap"]), count(figures["poses"], "pose")
    return Reported(
        f"OKS AP {ap} of {poses} in {seen.data} images",
        f"OKS AP {ap} of {poses} in {len(seen.answers)} {seen.answers.name} images",
        _facts(figures),
        [
            classes_section(figures["per_point"], "likeness", ("likeness", "marks"), f"{ROOM}/points.html"),
            worst_section(seen, paired(found, marked), description),
        ],
        {name: figures[name] for name in ("ap", "ap50", "ap75", "ar")},
    )


def _facts(figures: Mapping[str, Any]) -> list[Fact]:
    sizes = f"{percent(figures['ap_medium'])} of medium size, {percent(figures['ap_large'])} of large"
    return [
        ("OKS AP", percent(figures["ap"]), f"mean over OKS from 0.50 to 0.95; {sizes}"),
        ("At OKS 0.50", percent(figures["ap50"]), f"{percent(figures['ap75'])} at 0.75"),
        ("AR", percent(figures["ar"]), "average recall over the same; boxes are those that the data mark"),
    ]


def worst_section(seen: Seen, pairs: tuple[Rows, Rows], description: PoseDescription) -> Section:
    """Show the images that hold the poses of least OKS: what is marked, and what is answered."""
    found, marked = pairs
    oks, order = _oks(found, marked, description), dict[int, float]()

    def draw(number: int, image: NDArray[np.uint8], target: Any, answer: Poses) -> tuple[list[NDArray[np.uint8]], str]:
        pixels, points, boxes = in_colours(image), target["points"].numpy(), target["boxes"].numpy()
        marks = draw_poses(pixels, points, boxes, description.skeleton)
        return [marks, answer.overlay(pixels)], f"OKS {order[number]:.2f}"

    note = "Each image as it is marked, and as it is answered; OKS is of its worst pose."
    beside = SideBySide(note, ("Marks of", "Answer of"), draw)
    if not len(oks):
        return beside.section("Worst poses", "No pose is marked", seen, [])
    number_of = {image: number for number, image in _numbers(seen)}
    for place in np.argsort(oks, kind="stable").tolist():
        order.setdefault(number_of[int(found[place, 0])], float(oks[place]))
    title = f"The worst pose has OKS {oks.min():.2f}, half of them at least {np.median(oks):.2f}"
    return beside.section("Worst poses", title, seen, list(order)[:MAX_WORST])


def _numbers(seen: Seen) -> list[tuple[int, int]]:
    """Give the place among the answers and the number of each image in which something is marked."""
    images = seen.answers.targets[:, 0, 0].tolist() if len(seen.answers) else []
    return [(number, int(image)) for number, image in enumerate(images) if not np.isnan(image)]


def _oks(found: Rows, marked: Rows, description: PoseDescription) -> Any:
    """Give the OKS of each pair over the key points that are marked, as COCO does."""
    joints = len(description.class_names)
    points, truth = found[:, FOUND:].reshape(-1, joints, 3), marked[:, MARKED:].reshape(-1, joints, 3)
    each = likeness(points, truth, marked[:, 6], description.skeleton.sigmas)
    known = truth[..., 2] > 0
    return (each * known).sum(1) / known.sum(1).clip(1)
