"""What is served and how, in a form that travels: of it the application is made, here or in another process."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from moganet.errors import ConfigError, WeightsError
from moganet.inference.load import load
from moganet.inference.predictor import Predictor
from moganet.machine import keep_freed_memory
from moganet.models.timms import is_timms
from moganet.processors import using_threads
from moganet.serve.app import application
from moganet.serve.figures import Figures
from moganet.serve.hosted import Source
from moganet.serve.limits import Limits
from moganet.serve.service import Service
from moganet.serve.shelf import Shelf

Extend = Callable[[FastAPI, Service], None]
REPLICAS = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


@dataclass(frozen=True)
class Spread:
    """Over what a service is spread: replicas, from the fewest to the most, in the Ray cluster at an address.

    address: None takes RAY_ADDRESS, or starts Ray on this machine.
    """

    fewest: int = 2
    most: int = 2
    address: str | None = None

    @classmethod
    def of(cls, replicas: str, address: str | None = None) -> "Spread":
        """Read "N" or "MIN-MAX". Raises ConfigError for what is neither."""
        found = REPLICAS.fullmatch(replicas.strip())
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= fewest <= most:
            raise ConfigError(f"--replicas {replicas!r} must be a number from 1, or the fewest and the most, as 1-4")
        return cls(fewest, most, address)


@dataclass(frozen=True)
class Plan:
    """What is served and how. models: MODELs by their names for clients. choices: as in `load`.

    origins: of pages of other sites that may ask. extend: adds to the application, as the page.
    """

    models: Mapping[str, str]
    limits: Limits
    origins: Sequence[str] = ()
    extend: Extend | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def threads(self) -> int | None:
        """Give the number of threads that compute and read; None: as many as may be used."""
        threads: int | None = self.choices.get("threads")
        return threads

    @property
    def sources(self) -> list[Source]:
        """Give what is to be loaded, the default first."""
        return [Source(name, model, partial(_load, model, self.choices)) for name, model in self.models.items()]

    def elsewhere(self, **choices: Any) -> "Plan":
        """Give the plan for another process: files by paths that hold there too, and other choices."""
        models = {name: _with_whole_path(model) for name, model in self.models.items()}
        return replace(self, models=models, choices={**self.choices, **choices})

    def application(self, service: Service) -> FastAPI:
        """Make the application of a service."""
        extend = self.extend
        return application(service, self.origins, None if extend is None else lambda app: extend(app, service))

    @contextmanager
    def hosted(self) -> Iterator[tuple[Service, FastAPI]]:
        """Give the service, its models ready, and its application, in this process."""
        with using_threads(self.threads):
            service = open_service(self.sources, self.limits)
            yield service, self.application(service)


def _load(model: str, choices: Mapping[str, Any]) -> Predictor:
    predictor = load(model, **choices)
    if not predictor.class_names:
        raise WeightsError(f"{model} has no head, so there is nothing to answer; give a trained model")
    return predictor


def _with_whole_path(model: str) -> str:
    network, at, file = model.partition("@") if is_timms(model) else ("", "", model)
    return f"{network}{at}{Path(file).absolute()}" if file and Path(file).exists() else model


def open_service(sources: Sequence[Source], limits: Limits, figures: Figures | None = None) -> Service:
    """Load models and make them ready."""
    noted = Figures() if figures is None else figures

    def hear(name: str) -> Callable[[Sequence[float]], None]:
        queue, batches = noted.queue.labels(name), noted.batches.labels(name)

        def heard(waits: Sequence[float]) -> None:
            batches.observe(len(waits))
            for seconds in waits:
                queue.observe(seconds)

        return heard

    keep_freed_memory()
    shelf = Shelf(sources, hear, linger=2 * limits.seconds)
    shelf.open()
    return Service(shelf, limits, noted)
