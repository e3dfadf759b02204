"""What a measurement of interactions gives: rows and bands of each network, comparisons, and the files of both."""

import csv
from pathlib import Path

from moganet.files import atomic_path, to_json, write_text
from moganet.interactions import Curve, compare
from moganet.interactions.files import Asked
from moganet.results import Record, Result


class AtOrder(Record):
    """The strength at one order, as Curve has it. fraction: the order over the number of players."""

    order: int
    fraction: float
    J: float
    low: float
    high: float
    floor: float
    mean_strength: float


class NetworkCurve(Record):
    """How a network was measured, and its curve. size: (height, width). seconds: stored ones among them."""

    name: str
    untrained: bool
    runtime: str
    precision: str
    size: list[int]
    batch_size: int
    evaluations: int
    seconds: float
    evaluations_per_second: float | None
    middle: float
    middle_band: list[float]
    curve: list[AtOrder]


class DifferenceAtOrder(Record):
    """The second curve minus the first at one order."""

    order: int
    difference: float
    low: float
    high: float


class Difference(Record):
    """The difference of two networks' curves, order by order and in the middle, with bands."""

    first: str
    second: str
    middle: float
    middle_band: list[float]
    curve: list[DifferenceAtOrder]


class InteractionCurves(Asked, Result):
    """The curves of networks, measured on the same images, and what was measured.

    players: patches. level: of the bands. image_ids: hashes of the images' pixels. plan: what a budget chose.
    """

    pairs: int
    contexts: int
    budget: float | None
    images: int
    images_looked_at: int
    players: int
    level: float
    models: list[NetworkCurve]
    comparisons: list[Difference]
    image_ids: list[str]
    plan: dict[str, int | float] | None = None
    out: str | None = None

    @property
    def title(self) -> str:
        images = f"{self.images} images ({self.split}, {self.filter})"
        return f"{images}, {self.pairs} pairs, {self.contexts} contexts, grid {self.grid}x{self.grid}"

    def write(self, folder: Path) -> None:
        write_text(folder / "interactions.json", to_json(self, indent=1))
        with (
            atomic_path(folder / "interactions.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.DictWriter(file, ["model", *AtOrder.model_fields])
            writer.writeheader()
            writer.writerows({"model": one.name, **row} for one in self.models for row in one.curve)


def difference(first: str, second: str, curves: dict[str, Curve]) -> Difference:
    """Compare two networks' curves by their names."""
    found = compare(curves[first], curves[second])
    columns = [x.tolist() for x in (curves[first].orders, found.difference, found.low, found.high)]
    names = DifferenceAtOrder.model_fields
    rows = [DifferenceAtOrder(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    band = list(found.middle_band)
    return Difference(first=first, second=second, middle=found.middle, middle_band=band, curve=rows)
