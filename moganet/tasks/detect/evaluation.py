"""What is said of a detector's answers to a split: COCO's figures, and what is found and missed at its thresholds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from moganet.numbers import percent
from moganet.results import Record
from moganet.tasks.detect.coco import Figures, OfSet
from moganet.tasks.detect.counting import NOTHING, Counted, Curve, confusions, curves, found_by_size
from moganet.tasks.detect.description import DetectDescription
from moganet.tasks.records import Evaluation, Table

MAX_CONFUSED = 100


class OfClass(Record):
    """What was found of a class: fractions, None where no image shows it (precision: where it is never answered).

    ap, ap50: of boxes, as COCO's; mask_ap of masks, where there are some. precision, recall, f1: at the threshold.
    """

    name: str
    ap: float | None
    ap50: float | None
    mask_ap: float | None = None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float
    objects: int


class OfSize(Record):
    """How many objects of a size there are, and how many of them were found."""

    size: str
    objects: int
    found: int


class Confused(Record):
    """How many objects of a class were taken for another."""

    name: str
    taken_for: str
    objects: int


class OfImage(Record):
    """What was right and wrong in an image: objects found, answers that are none, and objects missed."""

    file: str
    right: int
    wrong: int
    missed: int


class DetectEvaluation(Evaluation):
    """A detector's figures. box, mask: COCO's, of all answers that the network keeps; ap: that of the boxes.

    right, wrong, missed: answers that are an object, answers that are none, and objects without an answer, at each
    class's threshold; so are by_size, confused and images too.
    """

    ap: float | None
    box: Figures
    mask: Figures | None = None
    right: int
    wrong: int
    missed: int
    per_class: tuple[OfClass, ...]
    by_size: tuple[OfSize, ...]
    confused: tuple[Confused, ...]
    images: tuple[OfImage, ...] = ()

    def headline(self) -> str:
        """Say the average precision."""
        masks = "" if self.mask is None else f", of masks {percent(self.mask.ap, 2)}"
        return f"AP of boxes {percent(self.box.ap, 2)}{masks} of {self.num_images} {self.split} images"

    def lines(self) -> Iterable[str]:
        """Say the figures, a line each."""
        yield f"boxes: {self.box.line()}"
        if self.mask is not None:
            yield f"masks: {self.mask.line()}"
        yield f"at the thresholds: {self.right:,} right, {self.wrong:,} wrong, {self.missed:,} missed"
        sizes = [f"{one.size} {one.found:,} of {one.objects:,}" for one in self.by_size if one.objects]
        yield f"found by size: {', '.join(sizes) or 'there is no object'}"

    def table(self) -> Table:
        """Give the figures of each class that there is."""
        keys = ["ap", "ap50", *(["mask_ap"] if self.mask is not None else []), "precision", "recall", "f1"]
        heads = {"ap": "AP", "ap50": "AP50", "mask_ap": "mask AP", "f1": "F1"}
        numbers = (*(heads.get(key, key) for key in keys), "threshold", "objects")
        rows = [
            (one.name, *(percent(one.get(key)) for key in keys), f"{one.threshold:.2f}", f"{one.objects:,}")
            for one in self.per_class
        ]
        return Table(("class", *numbers), rows, numbers)


def measured(
    every: Sequence[Counted], sets: Mapping[str, OfSet], description: DetectDescription, names: Sequence[str]
) -> dict[str, Any]:
    """Give what DetectEvaluation says of scenes. names: of their images, where they are known."""
    thresholds = np.array(description.cuts, np.float64)
    counts = [_of_image(one, thresholds) for one in every]
    by_size = found_by_size(every, thresholds).items()
    class_names = description.class_names
    return {
        "ap": sets["box"].figures.ap,
        **{kind: one.figures for kind, one in sets.items()},
        **{key: sum(one[key] for one in counts) for key in ("right", "wrong", "missed")},
        "per_class": _per_class(every, sets, description),
        "by_size": tuple(OfSize(size=size, objects=objects, found=found) for size, (objects, found) in by_size),
        "confused": tuple(
            Confused(name=class_names[truth], taken_for=class_names[given], objects=number)
            for (truth, given), number in confusions(every, thresholds).most_common(MAX_CONFUSED)
        ),
        "images": tuple(OfImage(file=name, **one) for name, one in zip(names, counts, strict=False)),
    }


def _of_image(one: Counted, thresholds: Any) -> dict[str, int]:
    said, seen = one.said(thresholds), one.seen(thresholds)
    wrong = int((said & (one.object_of == NOTHING)).sum())
    return {"right": int(seen.sum()), "wrong": wrong, "missed": int((~seen & ~one.crowd).sum())}


def _per_class(
    every: Sequence[Counted], sets: Mapping[str, OfSet], description: DetectDescription
) -> tuple[OfClass, ...]:
    by_class, _ = curves(every, len(description.class_names))
    return tuple(
        OfClass(
            name=name,
            ap=_known(sets["box"].ap[i]),
            ap50=_known(sets["box"].ap50[i]),
            **({"mask_ap": _known(sets["mask"].ap[i])} if "mask" in sets else {}),
            **_at(by_class[i], description.cuts[i]),
            threshold=description.cuts[i],
            objects=by_class[i].objects,
        )
        for i, name in enumerate(description.class_names)
    )


def _at(curve: Curve, threshold: float) -> dict[str, float | None]:
    """Give precision, recall and F1 at a threshold."""
    above = int((curve.scores >= threshold).sum())
    precision = float(curve.precision[above - 1]) if above else None
    if not curve.objects:
        return {"precision": precision, "recall": None, "f1": None}
    recall = float(curve.recall[above - 1]) if above else 0.0
    both = (precision or 0.0) + recall
    return {"precision": precision, "recall": recall, "f1": 2 * (precision or 0.0) * recall / both if both else 0.0}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
