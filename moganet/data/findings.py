"""What is wrong with a data set: findings, and the error of one that can be looked at but not used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moganet.errors import DataError, MogaNetError

if TYPE_CHECKING:
    from moganet.data.source import Dataset

# What makes a set unreadable or contradictory; the rest is worth knowing.
GRAVE = frozenset({"unreadable", "contradictory", "structure", "one-class"})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, where, and what it is."""

    kind: str
    file: str
    detail: str


class FaultError(MogaNetError):
    """A mask or an object can't be used: its fault's kind, by which such are left out, and what is wrong."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class UnusableDataError(DataError):
    """A set whose structure is wrong; `dataset` has what can be looked at all the same, and all of its findings."""

    def __init__(self, faults: Sequence[Finding], dataset: "Dataset") -> None:
        more = f" (the first of {len(faults)} faults; moganet doctor lists them)" if len(faults) > 1 else ""
        super().__init__(faults[0].detail + more)
        self.dataset = dataset
