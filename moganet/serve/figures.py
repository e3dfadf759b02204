"""What Prometheus is told of the service."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


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
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def text(self) -> tuple[bytes, str]:
        """Give the exposition and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
