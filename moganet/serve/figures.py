"""What Prometheus is told of the service."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Noted(NamedTuple):
    """A number that was noted: of which of the figures, by its name below, and under which label."""

    figure: str
    label: str
    value: float


class Figures:
    """The counters, gauges and histograms of one service, apart from those of others in this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry, "namespace": "moganet"}
        self.requests = Counter("requests", "Answered requests.", ["route", "method", "code"], **own)
        self.seconds = Histogram(
            "request_seconds", "From a request's head to its answer.", ["route"], buckets=SECONDS, **own
        )
        self.queue = Histogram(
            "queue_seconds", "What a ready image waited for its model.", ["model"], buckets=SECONDS, **own
        )
        self.batches = Histogram(
            "batch_images", "Images that a model answered at once.", ["model"], buckets=SIZES, **own
        )
        self.rejected = Counter("rejected_images", "Images unlike the model's training images.", ["model"], **own)
        self.unreadable = Counter("unreadable_images", "Images that could not be read.", ["model"], **own)
        self.waiting = Gauge("requests_in_progress", "Requests accepted and not yet answered.", **own)
        self.reloads = Counter("reloads", "Reloads of models, by what came of them.", ["outcome"], **own)
        self.repeated = Counter("repeated_requests", "Requests asked again: their replica died.", **own)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def text(self) -> tuple[bytes, str]:
        """Give the exposition and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def note(self, noted: Iterable[Noted]) -> None:
        """Note what was noted in another process."""
        for one in noted:
            figure: Counter | Histogram = getattr(self, one.figure)
            found = figure.labels(one.label)
            found.observe(one.value) if isinstance(found, Histogram) else found.inc(one.value)


class FiguresToSend(Figures):
    """The figures of a process that nobody asks for them: what is noted waits here until it is sent to one who is."""

    def __init__(self) -> None:
        self._noted = deque[Noted]()
        for name in ("queue", "batches", "rejected", "unreadable", "reloads"):
            setattr(self, name, _Kept(name, self._noted.append))

    def taken(self) -> tuple[Noted, ...]:
        """Give what was noted since the last time."""
        found = list[Noted]()
        with suppress(IndexError):
            while True:
                found.append(self._noted.popleft())
        return tuple(found)


class _Kept:
    """Stands for a counter or histogram."""

    def __init__(self, name: str, keep: Callable[[Noted], None]) -> None:
        self._name, self._keep = name, keep

    def labels(self, label: str) -> "_Label":
        return _Label(lambda value: self._keep(Noted(self._name, label, value)))


class _Label:
    def __init__(self, note: Callable[[float], None]) -> None:
        self.observe = note

    def inc(self, value: float = 1) -> None:
        self.observe(value)
