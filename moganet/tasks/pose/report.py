"""The part of the report that key points have: COCO's figures, each key point, and the worst poses drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from moganet.errors import DataError
from moganet.numbers import count, percent
from moganet.report.masks import in_colours
from moganet.report.page import Fact, Section, as_uri
from moganet.report.poses import draw_poses
from moganet.tasks.pose.description import PoseDescription
from moganet.tasks.pose.evaluator import measured
from moganet.tasks.pose.rows import FOUND, MARKED, Rows, once, paired
from moganet.tasks.report import Reported, Seen, classes_section

ROOM = "moganet.tasks.pose"  # which holds the templates
MAX_WORST = 12
SIDE = 320  # pixels, of the longer side of a picture


def compose(seen: Seen) -> Reported:
    """Say how good a network for key points is."""
    description = seen.description
    assert isinstance(description, PoseDescription)
    joints = len(description.class_names)
    flat = (seen.answers.outputs.flatten(0, 1), seen.answers.targets.flatten(0, 1))
    found, marked = once(flat[0], FOUND + 3 * joints), once(flat[1], MARKED + 3 * joints)
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
    likeness = _oks(found, marked, description)
    if not len(likeness):
        return Section("Worst poses", "No pose is marked", f"{ROOM}/worst.html", {"shown": []})
    number_of = {image: number for number, image in _numbers(seen)}
    order: dict[int, float] = {}
    for place in np.argsort(likeness, kind="stable").tolist():
        order.setdefault(number_of[int(found[place, 0])], float(likeness[place]))
    chosen, shown, left_out = list(order)[:MAX_WORST], list[dict[str, Any]](), dict[str, str]()
    try:
        again = seen.again(seen.answers, chosen) if seen.again is not None else iter(())
        for number, (image, target, answer) in zip(chosen, again, strict=False):
            pixels, skeleton = in_colours(image.numpy()), description.skeleton
            points, boxes = target["points"].numpy(), target["boxes"].numpy()
            pictures = [draw_poses(pixels, points, boxes, skeleton), answer.overlay(pixels)]
            name = seen.answers.name_of(number)
            shown.append({"name": name, "oks": order[number], "pictures": [_small(one) for one in pictures]})
    except DataError as error:  # a file that has gone since
        left_out = {"worst poses": str(error)}
    title = f"The worst pose has OKS {likeness.min():.2f}, half of them at least {np.median(likeness):.2f}"
    return Section("Worst poses", title, f"{ROOM}/worst.html", {"shown": shown}, f"{ROOM}/worst.css", left_out=left_out)


def _numbers(seen: Seen) -> list[tuple[int, int]]:
    """Give each image's place among the answers, and its number."""
    images = seen.answers.targets[:, 0, 0].tolist() if len(seen.answers) else []
    return [(number, int(image)) for number, image in enumerate(images)]


def _oks(found: Rows, marked: Rows, description: PoseDescription) -> Any:
    """Give the OKS of each pair over the key points that are marked, as COCO does."""
    joints = len(description.class_names)
    points, truth = found[:, FOUND:].reshape(-1, joints, 3), marked[:, MARKED:].reshape(-1, joints, 3)
    away = np.square(points[..., :2] - truth[..., :2]).sum(-1) / np.square(2 * np.array(description.skeleton.sigmas))
    each = np.exp(-away / (marked[:, 6, None] + np.spacing(1)) / 2)
    known = truth[..., 2] > 0
    return (each * known).sum(1) / known.sum(1).clip(1)


def _small(pixels: Any) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return as_uri(picture, "WEBP", quality=70, method=2)
