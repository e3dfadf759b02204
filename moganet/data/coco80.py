"""COCO's 80 classes (Lin et al. 2014) in the order of detectors' labels, and the numbers that its files give them."""

import csv
from functools import cache
from importlib.resources import files


@cache
def coco80() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Give the names and the numbers; of the numbers from 1 to 90, ten have no class."""
    rows = list(csv.DictReader((files(__package__) / "coco80.csv").read_text("utf-8").splitlines()))
    return tuple(row["name"] for row in rows), tuple(int(row["id"]) for row in rows)
