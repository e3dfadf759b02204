"""A multi-label network's part of the report: its figures, classes, reliability, wrong and missed labels, pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moganet.numbers import count, percent
from moganet.report.page import Fact, Section, Shown
from moganet.tasks.calibration import calibrate
from moganet.tasks.multilabel.answers import NONE, found, sigmoid
from moganet.tasks.multilabel.description import MultilabelDescription
from moganet.tasks.multilabel.evaluator import measure
from moganet.tasks.multilabel.reliability import fit, numbers, reliability_section
from moganet.tasks.report import Reported, Seen, classes_section

ROOM = "moganet.tasks.multilabel"  # which holds the templates
MAX_SHOWN = 12  # wrong labels, as many missed ones, and pairs
MAX_PAIRED = 200  # classes, the commonest


def compose(seen: Seen) -> Reported:
    """Say how good a multi-label network is; a temperature is fitted where its file keeps none, and kept in it."""
    description = seen.description
    assert isinstance(description, MultilabelDescription)
    logits, truth = numbers(seen.answers)
    answered = found(logits, description)
    temperature, source = calibrate(seen, fit)
    measured = measure(logits, truth, description)
    reliability, errors = reliability_section(logits, truth, temperature, source)
    precision = percent(measured["map"])
    return Reported(
        f"Mean average precision {precision} of {count(len(truth), 'image')} of {seen.data}",
        f"mAP {precision} of {count(len(truth), 'image')} ({seen.answers.name})",
        _facts(measured, errors),
        [
            classes_section(measured["per_class"], "ap", ("average precision", "images"), f"{ROOM}/labels.html"),
            reliability,
            errors_section(seen, logits, truth, answered),
            pairs_section(seen.class_names, truth, answered),
        ],
        {
            "map": measured["map"],
            "temperature": temperature,
            "ece": errors[0],
            "ece_calibrated": errors[1] if temperature else None,
        },
    )


def _facts(measured: Mapping[str, Any], errors: Sequence[float]) -> list[Fact]:
    calibrated = f"{percent(errors[1])} calibrated" if len(errors) > 1 else "over all answers"
    return [
        ("Mean average precision", percent(measured["map"]), f"{percent(measured['map_micro'])} over all answers"),
        ("F1", percent(measured["f1"]), f"at the thresholds; {percent(measured['f1_micro'])} over all answers"),
        ("All classes right", percent(measured["exact_match"]), "of the images"),
        ("Cross-entropy", f"{measured['loss']:.3f}", "mean over the classes"),
        ("Calibration error", percent(errors[0]), calibrated),
    ]


def errors_section(seen: Seen, logits: np.ndarray, truth: np.ndarray, answered: np.ndarray) -> Section:
    """Show the surest wrong and missed labels, each with where the network looked."""
    assert isinstance(seen.description, MultilabelDescription)
    cuts = np.array(seen.description.cuts).clip(1e-12, 1 - 1e-12)
    beyond = logits - np.log(cuts / (1 - cuts))
    wrong, missed = (
        surest(where, sureness) for where, sureness in ((answered & ~truth, beyond), (truth & ~answered, -beyond))
    )
    places = np.concatenate([wrong, missed])
    heats, left_out = seen.explained(seen.answers, places[:, 0], places[:, 1])
    shown = [
        _shown(
            seen,
            (image, label),
            truth[image],
            float(sigmoid(logits[image, label])),
            heats[i] if i < len(heats) else None,
        )
        for i, (image, label) in enumerate(places.tolist())
    ]
    number = int((answered & ~truth).sum()), int((truth & ~answered).sum())
    content = {"wrong": shown[: len(wrong)], "missed": shown[len(wrong) :]}
    title = f"It finds {number[0]:,} labels that images do not have, and misses {number[1]:,} of {int(truth.sum()):,}"
    return Section("Wrong and missed labels", title, f"{ROOM}/wrong.html", content, left_out=left_out)


def surest(where: np.ndarray, sureness: np.ndarray) -> np.ndarray:
    """Give the places (k, 2), image and class, of the highest values where `where` holds."""
    places = np.argwhere(where)
    return places[np.argsort(-sureness[where], kind="stable")][:MAX_SHOWN]


def _shown(seen: Seen, place: tuple[int, int], has: np.ndarray, sure: float, heat: int | None) -> Shown:
    (image, label), names, answers = place, seen.class_names, seen.answers
    number = seen.album.add(answers.name, answers.split, int(answers.places[image]))
    said = f"{names[label]} {100 * sure:.0f} % ({answers.name_of(image)})"
    return Shown(number, said, ", ".join(names[i] for i in np.flatnonzero(has)) or NONE, heat)


def pairs_section(names: Sequence[str], truth: np.ndarray, answered: np.ndarray) -> Section:
    """Show which classes stand together most often, and how often both are found then."""
    common = np.sort(np.argsort(-truth.sum(0), kind="stable")[:MAX_PAIRED])
    together = np.triu(truth[:, common].T.astype(np.int64) @ truth[:, common], 1)
    rows = []
    for place in np.argsort(-together, axis=None, kind="stable")[:MAX_SHOWN]:
        if together.flat[place]:
            first, second = (int(common[i]) for i in np.unravel_index(place, together.shape))
            both = truth[:, first] & truth[:, second]
            share = float((answered[:, first] & answered[:, second])[both].mean())
            rows.append({"first": names[first], "second": names[second], "images": int(both.sum()), "found": share})
    title = "No image has two classes"
    if rows:
        title = (
            f"“{rows[0]['first']}” and “{rows[0]['second']}” stand together most often: {rows[0]['images']:,} images"
        )
    return Section("Together", title, f"{ROOM}/pairs.html", {"rows": rows})
