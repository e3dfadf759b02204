"""POST /v1/explain: why a model answers as it does, as a picture over the image or as numbers."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from moganet.config import Settings
from moganet.inference.predictor import Predictor
from moganet.network import VARIANTS
from moganet.notices import silently
from moganet.serve.bodies import JSON
from moganet.serve.hosted import Hosted
from moganet.serve.lane import in_thread
from moganet.serve.pictures import Sent, check_pixels
from moganet.serve.predicting import asked_of, body_of_images, settings_of
from moganet.serve.problems import ProblemError, as_json
from moganet.serve.service import VERSION, Service

if TYPE_CHECKING:
    from moganet.engine.explaining import Explained

# Named here as well, since a service that explains nothing needs no torch; a test compares.
NEEDS_MODULE = {
    "lime": False,
    "occlusion": False,
    "integrated-gradients": True,
    "saliency": True,
    "gradcam": True,
    "orders": True,
}
Method = Literal["lime", "occlusion", "integrated-gradients", "saliency", "gradcam", "orders"]
Found = TypeVar("Found")
SAMPLES = 4000  # the most of LIME
ENOUGH = 0.7  # the share of a request's time after which it draws no more


class How(Settings):
    """How an image is to be explained."""

    model_config = ConfigDict(defer_build=False)  # which FastAPI would warn of

    model: Annotated[str | None, Field(description="A name that /v1/models lists [the first].")] = None
    method: Annotated[
        Method | None, Field(description="One of the model's methods [gradcam, of an exported file lime].")
    ] = None
    target: Annotated[str | None, Field(max_length=1000, description="A class's name or number [the likeliest].")] = (
        None
    )
    samples: Annotated[int | None, Field(ge=10, le=SAMPLES, description="Of lime [until its ranking is stable].")] = (
        None
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    format: Annotated[Literal["png", "json"], Field(description="The map over the image, or its numbers.")] = "png"


def methods_of(predictor: Predictor) -> tuple[str, ...]:
    """Name the methods by which a model can be explained."""
    if not predictor.task.explains:
        return ()
    branched = not predictor.task.by_image and predictor.config.architecture.name in VARIANTS
    able = [name for name, needs in NEEDS_MODULE.items() if predictor.has_module or not needs]
    return tuple(name for name in able if branched or name != "orders")


def unheard(done: int, total: int) -> None:
    """Hear how far it has come, where nobody wants to know."""


class Until:
    """The progress of a verb that ends it once its time is over, or nobody waits for it any more.

    LIME, where it may draw as many samples as it likes (`free`), makes do with those that it has by then.
    tell: is told how many steps of how many are done.
    """

    def __init__(self, seconds: float, *, free: bool = False, tell: Callable[[int, int], object] = unheard) -> None:
        self.begin, self.seconds, self.left = time.monotonic(), seconds, threading.Event()
        self.free, self.tell = free, tell

    def __call__(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        done = 0
        for item in items:
            share = (time.monotonic() - self.begin) / self.seconds
            if self.left.is_set() or share > 1:
                raise TimeoutError
            done += item if isinstance(item, int) else 1
            self.tell(done, total)
            yield item
            if self.free and what == "lime" and share > ENOUGH:
                return


async def explain(service: Service, hosted: Hosted, sent: Sent, how: How) -> tuple[dict[str, Any], bytes | None]:
    """Explain an image: what was found, and the picture where it is wanted. One is explained at a time."""
    return await in_time(service, sent, how, partial(_explain, hosted, sent, how))


async def in_time(
    service: Service, sent: Sent, how: How, work: Callable[[Until], Found], tell: Callable[[int, int], object] = unheard
) -> Found:
    """Work in the thread that explains, until the time of a request is over, or nobody waits any more."""
    check_pixels(sent, service.limits.pixels)
    until = Until(service.limits.seconds, free=how.samples is None, tell=tell)
    try:
        return await in_thread(service.explainer, work, until)
    finally:
        until.left.set()


def _explain(hosted: Hosted, sent: Sent, how: How, until: Until) -> tuple[dict[str, Any], bytes | None]:
    with tempfile.TemporaryDirectory(prefix="moganet-") as folder:
        found, notes = explained(hosted, sent, how, until, folder if how.format == "png" else None)
        picture = None if found.picture is None else Path(found.picture).read_bytes()
    known = {"model": hosted.name, "sha256": hosted.sha256, "version": VERSION}
    left_out = {"file", "map", "parts", "map_file", "picture"}
    plain = {key: value for key, value in found.items() if key not in left_out}
    numbers = [[round(float(value), 6) for value in line] for line in found.map]
    return {**known, "file": sent.name, **plain, "map": numbers, "notes": list(notes)}, picture


def explained(
    hosted: Hosted, sent: Sent, how: How, until: Until, out: str | None = None
) -> "tuple[Explained, Sequence[str]]":
    """Explain an image, in the thread that explains; give what was found, and what was said. out: for its files."""
    from moganet.engine.explain import explain as run

    if until.left.is_set():
        raise TimeoutError
    method = how.method or ("gradcam" if hosted.predictor.has_module else "lime")
    options = {} if how.samples is None else {"samples": how.samples}
    named: Any = {"target": how.target, "seed": how.seed, "out": out, "progress": until, **options}
    with silently():
        result = run(hosted.predictor, [sent.content], method, **named)
    if not result.images:
        raise ProblemError(422, f"{sent.name} can't be read: {result.unreadable[0].reason}")
    return result.images[0], result.notes


def routes(service: Service) -> APIRouter:
    """Give the routes."""
    router = APIRouter(tags=["moganet"])
    picture = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    numbers = {JSON: {"schema": {"type": "object"}}}

    @router.post(
        "/v1/explain",
        summary="Show why a model answers as it does",
        response_class=Response,
        responses={200: {"content": {**picture, **numbers}, "description": "The map over the image, or its numbers."}},
        openapi_extra=body_of_images(settings_of(How), several=False),
    )
    async def explain_sent(request: Request, query: Annotated[How, Query()]) -> Response:
        body, how = await asked_of(request, query, service)
        if len(body.images) > 1:
            raise ProblemError(413, "one image is explained at a time; send one")
        found, drawn = await explain(service, service.shelf.get(how.model), body.images[0], how)
        if drawn is None:
            return Response(as_json(found), media_type=JSON)
        names = ("model", "sha256", "method", "target", "probability")
        headers = {f"moganet-{name}": quote(str(found[name]), safe="") for name in names}
        return Response(drawn, media_type="image/png", headers=headers)

    return router
