"""The page at "/": drop an image, see what models answer and why; all of it lies here, and asks nobody outside."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse

from moganet.errors import MogaNetError
from moganet.results import Record
from moganet.serve.app import as_problem
from moganet.serve.bodies import JSON, read_body
from moganet.serve.explaining import How
from moganet.serve.pictures import Sent
from moganet.serve.problems import ProblemError, as_json
from moganet.serve.samples import Sample, samples_of
from moganet.serve.service import Question, Service
from moganet.serve.shown import answer, explanation

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PARTS = ("page.html", "page.css", "page.js", "card.js", "asking.js")
OWN = "'self'"  # nothing else is asked, shown or run
RULES = f"default-src 'none'; script-src {OWN}; style-src {OWN}; connect-src {OWN}; img-src {OWN} blob: data:; " + (
    f"media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors {OWN}"
)
HEADERS = {"content-security-policy": RULES, "cache-control": "no-cache"}
OFTEN = 0.1  # seconds between two lines of progress
SOONER = 0.95  # the share of a request's time after which it is said that this was not enough
NDJSON = "application/x-ndjson"
STREAMED = ("/v1/page/explanation",)  # the paths whose answers come part by part


class PageQuestion(Question):
    """How the page wants an answer. preview: it can't show the image's file by itself."""

    preview: bool = False


class Offered(Record):
    """A sample: its name, and its place among them."""

    name: str
    number: int


class Samples(Record):
    """What the page offers to click. credit: whose they are."""

    samples: tuple[Offered, ...]
    credit: str


class Step(Record):
    """How far an explanation has come."""

    done: int
    total: int


def mount(app: FastAPI, service: Service, samples: Path | None = None) -> None:
    """Add the page to the service's application. samples: a folder of images to click. Raises ConfigError for none."""
    trained_on = [hosted.trained_on for hosted in service.shelf.all()]
    found, credit = samples_of(samples, trained_on)
    app.include_router(_page(found, credit), include_in_schema=False)
    app.include_router(_answers(service), include_in_schema=False)


def _page(samples: list[Sample], credit: str) -> APIRouter:
    """Give the routes of what lies here."""
    router, folder = APIRouter(), files("moganet.serve") / "template"
    parts = {name: (folder / name).read_bytes() for name in PARTS}
    offered = tuple(Offered(name=one.name, number=number) for number, one in enumerate(samples))
    listed = as_json(Samples(samples=offered, credit=credit))

    @router.get("/")
    async def page() -> Response:
        return Response(parts["page.html"], headers=_headers("page.html"))

    @router.get("/page/samples")
    async def list_samples() -> Response:
        return Response(listed, media_type=JSON)

    @router.get("/page/samples/{number}")
    async def sample(number: int, small: bool = False) -> Response:
        if not 0 <= number < len(samples):
            raise ProblemError(404, f"there is no sample {number}; there are {len(samples)}")
        one = samples[number]
        content = one.thumbnail if small else one.content
        return Response(content, media_type="image/png" if content[:4] == b"\x89PNG" else "image/jpeg")

    @router.get("/page/{name}")
    async def part(name: str) -> Response:
        if name not in PARTS:
            raise ProblemError(404, "the page has no such part")
        return Response(parts[name], headers=_headers(name))

    return router


def _headers(name: str) -> dict[str, str]:
    return {**HEADERS, "content-type": f"{KINDS[Path(name).suffix]}; charset=utf-8"}


def _answers(service: Service) -> APIRouter:
    """Give the routes that work; their paths begin as the API's do, so that its limits are theirs."""
    router = APIRouter(prefix="/v1/page")

    async def one(request: Request) -> Sent:
        body = await read_body(request, service.limits)
        if len(body.images) > 1:
            raise ProblemError(413, "the page asks about one image at a time; send one")
        return body.images[0]

    @router.post("/answer")
    async def answered(request: Request, query: Annotated[PageQuestion, Query()]) -> Response:
        sent, hosted = await one(request), service.shelf.get(query.model)
        try:
            found = as_json(await answer(service, hosted, sent, query, preview=query.preview))
        except (ProblemError, MogaNetError) as error:  # no error of the page, as which a browser would list it
            found = _said(error)
        return Response(found, media_type=JSON)

    @router.post("/explanation")
    async def explained(request: Request, how: Annotated[How, Query()]) -> Response:
        sent, hosted = await one(request), service.shelf.get(how.model)
        seconds = SOONER * service.limits.seconds
        steps = _steps(lambda tell: explanation(service, hosted, sent, how, tell), seconds)
        return StreamingResponse(steps, media_type=NDJSON)

    return router


async def _steps(explain: Callable[[Callable[[int, int], None]], Any], seconds: float) -> AsyncIterator[bytes]:
    """Give lines of JSON: how far it has come, and at the end what was found, or the problem."""
    loop, waiting, last = asyncio.get_running_loop(), asyncio.Queue[Record | None](), [0.0]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - last[0] > OFTEN:
            last[0] = time.monotonic()
            loop.call_soon_threadsafe(waiting.put_nowait, Step(done=done, total=total))

    work = asyncio.ensure_future(asyncio.wait_for(explain(tell), seconds))
    work.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (step := await waiting.get()) is not None:
            yield as_json(step) + b"\n"
        yield as_json(work.result()) + b"\n"
    except (ProblemError, MogaNetError, TimeoutError) as error:
        yield _said(error) + b"\n"
    finally:
        work.cancel()


def _said(error: Exception) -> bytes:
    problem = as_problem(error)
    return as_json({"problem": problem.detail, "status": problem.status})
