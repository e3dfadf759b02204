"""metrics.csv, a run's figures with one row an epoch: how Lightning fills it.

Lightning's own CSV logger begins a row for each call (rates at an epoch's start, validation, training); here they meet
in the epoch's row.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from moganet.files import write_text
from moganet.training.epoch_rows import Row, read_rows

PLACE = ("epoch", "step")
ORDER = ("lr", "train", "val")  # of the other columns, by what stands before their names' /


class EpochTable(Logger):
    """The logger that writes it. An epoch has a row on disk once there is a figure of it beside its learning rate.

    place: gives the epochs and the optimizer steps that are done; of the file epochs count from 1, and `step` is how
    many steps were done when the row was last written to.
    """

    name, version = "", ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.rows = path, dict[int, Row]()
        self.place: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Keep none: the recipe lies beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        done, steps = self.place()
        row = self.rows.setdefault(int(metrics.get("epoch", done)) + 1, {})
        row.update({name: str(value) for name, value in metrics.items() if name != "epoch"}, step=str(steps))

    @rank_zero_only
    def save(self) -> None:
        if begun := {epoch: row for epoch, row in self.rows.items() if any(map(_is_figure, row))}:
            write_text(self.path, _written(begun))

    @property
    def text(self) -> str:
        """The table with the epoch that has only begun; setting it takes the place of what there is, on disk too."""
        return _written(self.rows)

    @text.setter
    def text(self, text: str) -> None:
        self.rows = read_rows(text)
        self.save()


def _is_figure(name: str) -> bool:
    return name not in PLACE and not name.startswith("lr")


def _written(rows: Mapping[int, Row]) -> str:
    names = dict.fromkeys(name for row in rows.values() for name in row if name not in PLACE)
    head = [*PLACE, *sorted(names, key=lambda name: _rank(name.partition("/")[0]))]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, head, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"epoch": epoch, **row} for epoch, row in sorted(rows.items()))
    return text.getvalue()


def _rank(kind: str) -> int:
    return ORDER.index(kind) if kind in ORDER else len(ORDER)
