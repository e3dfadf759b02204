"""How many answers are right, of those whose truth is known."""

from dataclasses import dataclass

from moganet.numbers import percent, wilson_interval
from moganet.results import Record

BY = {"folders": "the names of their folders", "data": "the data set"}


class Hits(Record):
    """How many answers are right, of those whose truth is known, with the 95 % interval of the rate (Wilson).

    by: what tells the truth, "folders" or "data". Of a classifier the likeliest class counts, else all that were found.
    """

    by: str
    known: int
    right: int
    rate: float
    interval: tuple[float, float]

    def line(self) -> str:
        """Say it in one line."""
        low, high = (f"{100 * end:.1f}" for end in self.interval)
        said = f"right: {self.right:,} of {self.known:,}, {percent(self.rate)} (95 % interval {low} to {high})"
        return f"{said}; the truth is by {BY[self.by]}"


@dataclass
class Counted:
    """Counts right answers, of those whose truth is known by something."""

    by: str
    known: int = 0
    right: int = 0

    def add(self, right: bool | None) -> None:
        self.known += right is not None
        self.right += bool(right)

    def hits(self) -> dict[str, Hits]:
        if not self.known:
            return {}
        rate = self.right / self.known
        interval = wilson_interval(rate, self.known)
        return {"hits": Hits(by=self.by, known=self.known, right=self.right, rate=rate, interval=interval)}
