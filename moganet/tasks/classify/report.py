"""A classifier's part of the report: its figures, and its sections from the classes to the labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moganet.numbers import count, percent
from moganet.report.page import Fact, Section
from moganet.tasks.calibration import calibrate
from moganet.tasks.classify.classified import ROOM, Classified
from moganet.tasks.classify.confusion import fill_cells, matrix_section
from moganet.tasks.classify.errors import errors_section, labels_section
from moganet.tasks.classify.evaluator import measure
from moganet.tasks.classify.reliability import Sureness, fit, reliability_section, sureness
from moganet.tasks.report import Reported, Seen, folded

Row = Mapping[str, Any]  # of the table of classes, as `measure` gives it


def compose(seen: Seen) -> Reported:
    """Say how good a classifier is; a temperature is fitted where its file keeps none, and kept in it."""
    temperature, source = calibrate(seen, fit)
    measured = measure(seen.answers.outputs, seen.answers.targets, seen.class_names)
    given = {id(part): Classified(part) for part in (seen.answers, *seen.fresh)}
    asked, fresh = given[id(seen.answers)], [given[id(part)] for part in seen.fresh]
    before = Sureness("As trained", asked.confidence, measured["ece"])
    after = None if temperature is None else sureness(seen.answers, temperature)
    matrix, accuracy = np.array(measured["confusion"]), measured["top1"]
    errors, (labels, num_doubtful) = errors_section(seen, asked), labels_section(seen, fresh, accuracy)
    confusion = matrix_section(matrix, seen.class_names, fill_cells(asked, seen.album))
    classes = classes_section(measured["per_class"], seen.class_names, matrix)
    reliability = reliability_section(asked.correct, before, after, source)
    return Reported(
        f"{percent(accuracy)} of {count(len(asked.labels), 'image')} of {seen.data} right",
        f"{100 * accuracy:.2f} % of {count(len(asked.labels), 'image')} ({seen.answers.name}) right",
        _facts(measured, len(asked.labels), after),
        [classes, confusion, reliability, errors, labels],
        {
            "top1": accuracy,
            "temperature": temperature,
            "ece": before.error,
            "ece_calibrated": after.error if after else None,
            "suspected_labels": num_doubtful,
        },
    )


def _facts(measured: Mapping[str, Any], number: int, after: Sureness | None) -> list[Fact]:
    low, high = measured["interval"]
    interval = f"of {count(number, 'image')}, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
    facts = [("Accuracy", percent(measured["top1"]), interval)]
    if len(measured["per_class"]) > 5:
        facts.append(("Among the best five", percent(measured["top5"]), "top-5 accuracy"))
    chance = f"{percent(measured['ece_by_chance'])} by chance alone"
    calibrated = f"{percent(after.error)} {after.name[0].lower()}{after.name[1:]}, " if after else ""
    return [
        *facts,
        ("Cross-entropy", f"{measured['loss']:.3f}", "the loss, without smoothing"),
        ("Calibration error", percent(measured["ece"]), calibrated + chance),
    ]


def classes_section(per_class: Sequence[Row], names: Sequence[str], matrix: np.ndarray) -> Section:
    """Show a row a class, the hardest first, each with what it is most often taken for."""
    rows = []
    for index, row in enumerate(per_class):
        others = matrix[index].copy()
        others[index] = 0
        taken = int(others.argmax())
        rows.append({**row, "mistaken": f"{names[taken]} ({int(others[taken]):,})" if others[taken] else ""})
    rows.sort(key=lambda row: (not row["num_images"], row["recall"] or 0.0, row["f1"] or 0.0))
    recall = np.array([row["recall"] for row in per_class], float)  # nan where a class has no images
    title = say_classes(names, recall, np.array([row["num_images"] for row in per_class]))
    return Section("Classes", title, f"{ROOM}/classes.html", folded(rows))


def say_classes(names: Sequence[str], recall: np.ndarray, number: np.ndarray) -> str:
    """Name the classes that are found least and most often."""
    present = np.flatnonzero(number)
    if not len(present):
        return "No class has images"
    worst, best = present[recall[present].argmin()], present[recall[present].argmax()]
    empty = len(number) - len(present)
    absent = f"; {empty} of {len(number)} classes have no images" if empty else ""
    if len(present) == 1:
        return f"“{names[worst]}” is the only class with images: {percent(recall[worst])} found{absent}"
    if recall[worst] == recall[best]:
        return f"Every class with images is found equally often: {percent(recall[worst])}{absent}"
    text = f"“{names[worst]}” is the hardest class, {percent(recall[worst])} found"
    return text + f"; “{names[best]}” the easiest, {percent(recall[best])}{absent}"
