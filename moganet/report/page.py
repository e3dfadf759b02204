"""One self-contained page that shows a person how good a model is, and where it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moganet.files import write_text
from moganet.report import findings
from moganet.report.charts import Series, line_chart, reliability_chart
from moganet.report.curves import LABELS
from moganet.report.sheet import Sheet

MAX_CLASSES = 100  # in the confusion matrix; of more, those with most errors
MAX_WRITTEN = 20  # classes up to which the matrix's cells carry their numbers
MAX_ROWS = 20  # of the table of classes, before the rest is folded away


@dataclass(frozen=True)
class Shown:
    """A picture of the sheet, and what is said of it. heat: the explanation's number in its own sheet."""

    picture: int
    caption: str
    truth: str = ""
    heat: int | None = None


@dataclass(frozen=True)
class Calibration:
    """Each image's confidence (N,) before and after temperature scaling, the errors of calibration, and how it came.

    source: what the temperature was fitted on, or why there is none.
    """

    before: np.ndarray
    error_before: float
    source: str
    bins: int
    after: np.ndarray | None = None
    error_after: float | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Images:
    """What the data set's images are like: class counts (K,) by split, sizes (N, 2), near-copies by pairs of splits.

    note: what was left out. class_names: the data set's own.
    """

    counts: Mapping[str, np.ndarray]
    sizes: np.ndarray
    network_size: tuple[int, int]
    copies: Mapping[tuple[str, str], int]
    pairs: Sequence[tuple[Shown, Shown]] = ()
    note: str = ""
    class_names: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All that the page shows. facts: label, value and note of what stands at its top. metrics: as `read_metrics`.

    correct: (N,) of the split's images. cells: pictures by (truth, predicted). missing: reasons by the part that is
    left out. sheet, heats: the pictures, and the explanations.
    """

    name: str
    data: str
    split: str
    class_names: Sequence[str]
    top1: float
    facts: Sequence[tuple[str, str, str]]
    per_class: Sequence[Mapping[str, Any]]
    confusion: np.ndarray
    correct: np.ndarray
    calibration: Calibration
    sheet: Sheet
    heats: Sheet
    metrics: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    cells: Mapping[tuple[int, int], Sequence[Shown]] = field(default_factory=dict)
    errors: Sequence[Shown] = ()
    hits: Sequence[Shown] = ()
    doubtful: Sequence[Shown] = ()
    num_doubtful: int = 0
    num_examined: int = 0
    images: Images | None = None
    explained_by: str = ""
    recipe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def write_page(report: Report, path: Path) -> None:
    """Write the page as one HTML file that asks for nothing outside itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("moganet.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": findings.percent, "short": findings.short}
    text = environment.get_template("page.html").render(
        report=report,
        titles=_titles(report),
        curves=list(_curves(report.metrics)),
        reliability=_reliability(report),
        classes=_classes(report),
        matrix=_matrix(report),
        opened={
            f"{truth},{found}": [(s.picture, s.caption) for s in some] for (truth, found), some in report.cells.items()
        },
        MAX_ROWS=MAX_ROWS,
    )
    write_text(path, text)


def _titles(report: Report) -> dict[str, str]:
    recall = np.array([row["recall"] for row in report.per_class], float)  # nan where a class has no images
    number = np.array([row["num_images"] for row in report.per_class])
    calibration, images = report.calibration, report.images
    bias = float(calibration.before.mean() - report.correct.mean())
    titles = {
        "page": f"{findings.percent(report.top1)} of {len(report.correct):,} {report.data} images right",
        "curves": findings.say_curves(report.metrics),
        "classes": findings.say_classes(report.class_names, recall, number),
        "confusion": findings.say_confusion(report.class_names, report.confusion),
        "reliability": findings.say_reliability(bias, calibration.error_before, calibration.error_after),
        "errors": findings.say_errors(calibration.before, report.correct),
        "labels": findings.say_labels(report.num_doubtful, report.num_examined),
    }
    if images is not None:
        titles["balance"] = findings.say_balance(images.counts)
        titles["sizes"] = findings.say_sizes(images.sizes, images.network_size)
        titles["copies"] = findings.say_copies(images.copies)
    return titles


def _curves(metrics: Mapping[str, Mapping[int, float]]) -> Any:
    """Draw loss, accuracy, learning rate and images per second, those that the run has, each with its legend."""
    charts: list[tuple[str, bool, list[tuple[str, str]]]] = [
        ("Loss", False, [("train/loss", LABELS["train"]), ("val/loss", LABELS["val"])]),
        ("Top-1 accuracy", True, [("train/top1", LABELS["train"]), ("val/top1", LABELS["val"])]),
        ("Learning rate", False, [("lr", "first group of parameters")]),
        ("Training images per second", False, [("train/images_per_second", "without validation")]),
    ]
    for name, is_share, lines in charts:
        series = [
            Series(label, style, [(epoch + 1, value) for epoch, value in sorted(metrics[key].items())])
            for (key, label), style in zip(lines, "ab", strict=False)
            if metrics.get(key)
        ]
        if not series:
            continue
        ends = []
        for one in series:
            (first_x, first), (last_x, last) = one.points[0], one.points[-1]
            values = (findings.percent(first), findings.percent(last)) if is_share else (f"{first:.3g}", f"{last:.3g}")
            ends.append(f"{one.name}: {values[0]} after epoch {first_x:g}, {values[1]} after epoch {last_x:g}")
        yield name, line_chart(series, f"{name} by epoch. {'; '.join(ends)}.", percent=is_share), series


def _reliability(report: Report) -> list[tuple[str, Any]]:
    found, correct = report.calibration, report.correct.astype(float)
    charts = [("As trained", found.before, found.error_before)]
    if found.after is not None and found.error_after is not None:
        charts.append((f"At temperature {found.temperature:.2f}", found.after, found.error_after))
    drawn = []
    for name, confidence, error in charts:
        alt = (
            f"{name}: accuracy against confidence. Mean confidence {findings.percent(float(confidence.mean()))}, "
            f"accuracy {findings.percent(float(correct.mean()))}, calibration error {findings.percent(error)}."
        )
        heading = f"{name}: error {findings.percent(error)}"
        drawn.append((heading, reliability_chart(confidence, correct, found.bins, alt)))
    return drawn


def _classes(report: Report) -> list[dict[str, Any]]:
    """Give the table's rows, the hardest class first, each with what it is most often taken for."""
    rows = []
    for index, row in enumerate(report.per_class):
        others = report.confusion[index].copy()
        others[index] = 0
        taken = int(others.argmax())
        mistaken = f"{report.class_names[taken]} ({int(others[taken]):,})" if others[taken] else ""
        rows.append({**row, "mistaken": mistaken})
    return sorted(rows, key=lambda row: (not row["num_images"], row["recall"] or 0.0, row["f1"] or 0.0))


def _matrix(report: Report) -> dict[str, Any]:
    """Give the matrix's classes and cells: the number, its share of the row, and whether pictures can be opened."""
    matrix, number = report.confusion, len(report.class_names)
    shown = np.arange(number)
    if number > MAX_CLASSES:
        wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        shown = np.sort(np.argsort(-wrong, kind="stable")[:MAX_CLASSES])
    rows = []
    for truth in shown:
        total = max(int(matrix[truth].sum()), 1)
        cells = []
        for predicted in shown:
            count = int(matrix[truth, predicted])
            cells.append(
                {
                    "predicted": int(predicted),
                    "count": count,
                    "strength": round((count / total) ** 0.5, 3),
                    "opens": (int(truth), int(predicted)) in report.cells,
                    "right": truth == predicted,
                }
            )
        rows.append({"truth": int(truth), "cells": cells})
    return {"shown": shown.tolist(), "rows": rows, "written": len(shown) <= MAX_WRITTEN, "all": len(shown) == number}
