"""A segmenter's part of the report: its figures, classes, what is taken for what, and the worst images with masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from moganet.errors import DataError
from moganet.numbers import count, percent
from moganet.report.masks import in_colours, painted_over
from moganet.report.page import Fact, Section, as_uri
from moganet.tasks.report import Reported, Seen, classes_section
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
    shown, left_out = [], {}
    try:
        again = seen.again(seen.answers, order) if seen.again is not None else iter(())
        for number, (image, target, answer) in zip(order, again, strict=False):
            pictures = [None, np.asarray(target), answer.labels.astype(np.int64)]
            drawn = [_picture(image.numpy(), labels, palette) for labels in pictures]
            name = seen.answers.name_of(number)
            shown.append({"name": name, "iou": float(scores[number]), "pictures": drawn})
    except DataError as error:  # a file that has gone since
        left_out = {"worst images": str(error)}
    legend = [
        {"name": name, "colour": "#" + bytes(colour).hex(), "has": bool(has)}
        for name, colour, has in zip(description.class_names, palette, counts.sum((0, 2)) > 0, strict=True)
    ]
    title = f"The worst image has IoU {percent(scores.min())}, the best {percent(scores.max())}"
    content = {"shown": shown, "legend": [one for one in legend if one["has"]][:60]}
    return Section("Worst images", title, f"{ROOM}/worst.html", content, f"{ROOM}/worst.css", left_out=left_out)


def _score(matrix: NDArray[np.int64]) -> float:
    return mean(ious(matrix)[matrix.sum(1) > 0]) or 0.0


def _picture(image: NDArray[np.uint8], labels: NDArray[Any] | None, palette: Sequence[Any]) -> str:
    """Draw an image, with labels over it, as a small data URI."""
    step = max(1, -(-max(image.shape[1:]) // SIDE))
    pixels = in_colours(image[:, ::step, ::step])
    if labels is not None:
        pixels = painted_over(pixels, labels[::step, ::step], palette)
    return as_uri(Image.fromarray(pixels), "WEBP", quality=70, method=2)
