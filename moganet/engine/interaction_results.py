"""What a measurement of interactions gives: rows and bands of each network, comparisons, and the files of both."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moganet.engine.subjects import Subject
from moganet.files import atomic_path, to_json, write_text
from moganet.interactions import Curve, Interactions, compare
from moganet.report.interactions import draw_interactions


def describe(
    one: Subject, curve: Curve, found: Sequence[Interactions], seconds: float, batch_size: int
) -> dict[str, Any]:
    """Say how a network was measured, and what came of it."""
    evaluations = sum(image.evaluations for image in found)
    return {
        "name": one.name,
        "untrained": not one.trained,
        "runtime": one.runtime,
        "precision": one.precision,
        "size": list(one.preprocessing.size),
        "batch_size": batch_size,
        "evaluations": evaluations,
        "seconds": seconds,
        "evaluations_per_second": evaluations / seconds if seconds else None,
        "middle": curve.middle,
        "middle_band": list(curve.middle_band),
        "curve": curve.rows(),
    }


def compared(first: str, second: str, curves: dict[str, Curve]) -> dict[str, Any]:
    """Give the difference of two networks' curves, order by order and in the middle, with bands."""
    found = compare(curves[first], curves[second])
    rows = [
        {"order": int(m), "difference": d, "low": low, "high": high}
        for m, d, low, high in zip(
            curves[first].orders, *(x.tolist() for x in (found.difference, found.low, found.high)), strict=True
        )
    ]
    return {
        "first": first,
        "second": second,
        "middle": found.middle,
        "middle_band": list(found.middle_band),
        "curve": rows,
    }


def write_results(folder: Path, result: dict[str, Any]) -> None:
    """Write interactions.json, interactions.csv and interactions.png."""
    write_text(folder / "interactions.json", to_json(result, indent=1))
    rows = [{"model": one["name"], **row} for one in result["models"] for row in one["curve"]]
    with (
        atomic_path(folder / "interactions.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    title = (
        f"{result['images']} images ({result['split']}, {result['filter']}), {result['pairs']} pairs, "
        f"{result['contexts']} contexts, grid {result['grid']}x{result['grid']}"
    )
    draw_interactions({one["name"]: one["curve"] for one in result["models"]}, folder / "interactions.png", title)
