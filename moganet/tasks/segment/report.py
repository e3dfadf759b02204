"""A segmenter's part of the report: its figures, classes, what is taken for what, and the worst images with masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moganet.numbers import count, percent
from moganet.report.masks import in_colours, painted_over
from moganet.report.page import Fact, Section
from moganet.tasks.report import Reported, Seen, SideBySide, classes_section
from moganet.tasks.segment.answers import Segmentation
from moganet.tasks.segment.description import SegmentDescription
from moganet.tasks.segment.evaluator import SegmentEvaluator, measured
from moganet.tasks.segment.figures import ious, mean
from moganet.tasks.task import Outputs

ROOM = "moganet.tasks.segment"  # which holds the templates
MAX_WORST, MAX_TAKEN = 12, 15
SIDE = 320  # pixels, of the longer side of a picture


def counted(outputs: Outputs, targets: Any, description: SegmentDescription) -> tuple[Tensor, Tensor]:
    """Count an image's pixels (1, classes, classes + 3), as MeanIou has them; its mask is read again where needed."""
    evaluator = SegmentEvaluator(description, keeps=True)
    evaluator.update({name: torch.from_numpy(values) for name, values in outputs.items()}, targets)
    counts = evaluator.figures()["miou"].counts
    assert isinstance(counts, Tensor)
    return counts[None], torch.zeros(1)


def compose(seen: Seen) -> Reported:
    """Say how good a segmenter is."""
    description = seen.description
    assert isinstance(description, SegmentDescription)
    counts = seen.answers.outputs.numpy()
    found = measured(counts.sum(0), description.class_names)
    miou = percent(found["miou"])
    return Reported(
        f"Mean IoU {miou} of {count(len(counts), 'image')} of {seen.data}",
        f"mIoU {miou} of {count(len(counts), 'image')} ({seen.answers.name})",
        _facts(found),
        [
            classes_section(found["per_class"], "iou", ("IoU", "pixels"), f"{ROOM}/classes.html"),
            taken_section(counts.sum(0)[:, :-3], description.class_names),
            worst_section(seen, counts, description),
        ],
        {name: found[name] for name in ("miou", "macc", "aacc", "boundary_iou")},
    )


def _facts(found: Mapping[str, Any]) -> list[Fact]:
    return [
        ("Mean IoU", percent(found["miou"]), "intersection over union, mean over the classes"),
        ("Along borders", percent(found["boundary_iou"]), "mean IoU within 2 % of the diagonal"),
        ("Pixels right", percent(found["aacc"]), f"{percent(found['macc'])} as the mean over the classes"),
    ]


def taken_section(matrix: NDArray[np.int64], names: Sequence[str]) -> Section:
    """Show what is most often taken for what, as a share of the class's pixels."""
    errors = matrix - np.diag(np.diag(matrix))
    rows: list[dict[str, Any]] = []
    for place in np.argsort(-errors, axis=None, kind="stable")[:MAX_TAKEN]:
        truth, given = (int(i) for i in np.unravel_index(place, errors.shape))
        if pixels := int(errors[truth, given]):
            share = pixels / int(matrix[truth].sum())
            rows.append({"truth": names[truth], "given": names[given], "pixels": pixels, "share": share})
    title = "No pixel is taken for another class"
    if rows:
        first = rows[0]
        title = (
            f"Most often “{first['truth']}” is taken for “{first['given']}”: {percent(first['share'])} of its pixels"
        )
    return Section("Confusion", title, f"{ROOM}/taken.html", {"rows": rows})


def worst_section(seen: Seen, counts: NDArray[np.int64], description: SegmentDescription) -> Section:
    """Show the images of least IoU: as they are, with their masks, and with the answers."""
    scores = np.array([_score(one[:, :-3]) for one in counts])
    order = np.argsort(scores, kind="stable")[:MAX_WORST].tolist()
    palette = description.colours

    def draw(
        number: int, image: NDArray[np.uint8], target: Any, answer: Segmentation
    ) -> tuple[list[NDArray[np.uint8]], str]:
        pictures = [None, np.asarray(target), answer.labels.astype(np.int64)]
        return [_drawn(image, labels, palette) for labels in pictures], f"IoU {percent(scores[number])}"

    legend = [
        {"name": name, "colour": "#" + bytes(colour).hex()}
        for name, colour, has in zip(description.class_names, palette, counts.sum((0, 2)) > 0, strict=True)
        if has
    ]
    note = "Each image as it is, with its mask, and with the answer; the mean IoU is over the classes of its mask."
    beside = SideBySide(note, ("Image of", "Mask of", "Answer of"), draw, SIDE, legend[:60])
    title = f"The worst image has IoU {percent(scores.min())}, the best {percent(scores.max())}"
    return beside.section("Worst images", title, seen, order)


def _score(matrix: NDArray[np.int64]) -> float:
    return mean(ious(matrix)[matrix.sum(1) > 0]) or 0.0


def _drawn(image: NDArray[np.uint8], labels: NDArray[Any] | None, palette: Sequence[Any]) -> NDArray[np.uint8]:
    """Draw an image, with labels over it, small."""
    step = max(1, -(-max(image.shape[1:]) // SIDE))
    pixels = in_colours(image[:, ::step, ::step])
    return pixels if labels is None else painted_over(pixels, labels[::step, ::step], palette)
