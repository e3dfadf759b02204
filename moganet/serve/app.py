"""The application: the service's routes, its description for clients, and the door before them."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from moganet.errors import MissingExtraError, MogaNetError
from moganet.serve import explaining, inference_protocol, predicting, watching
from moganet.serve.door import BUG, Access, Door
from moganet.serve.problems import MEDIA_TYPE, ProblemError, document, invalid
from moganet.serve.service import VERSION, Service

SUMMARY = "Answers of MogaNet models for images."
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_app(service: Service, access: Access = Access(), extend: Callable[[FastAPI], None] | None = None) -> Door:  # noqa: B008 (frozen)
    """Make the application of a service, behind its door. extend: adds what else it has, as the page at "/"."""
    return Door(application(service, access.origins, extend), service, access)


def application(
    service: Service, origins: Sequence[str] = (), extend: Callable[[FastAPI], None] | None = None
) -> FastAPI:
    """Make the application of a service, without a door. origins: of pages of other sites that may ask."""
    app = bare_application(origins, lambda app: _alive(service))
    for room in (predicting, explaining, watching, inference_protocol):
        app.include_router(room.routes(service))
    if extend is not None:
        extend(app)
    return app


def bare_application(origins: Sequence[str] = (), lifespan: Lifespan | None = None) -> FastAPI:
    """Make an application without routes, which says what goes wrong as the service does."""
    app = FastAPI(
        title="moganet",
        version=VERSION,
        summary=SUMMARY,
        docs_url=None,  # their scripts lie on other people's machines
        redoc_url=None,
        lifespan=lifespan,
        responses={"4XX": _problem("What is wrong with the request."), "5XX": _problem("What the service lacks.")},
    )
    for kind in (ProblemError, HTTPException, RequestValidationError, MogaNetError, ClientDisconnect, TimeoutError):
        app.add_exception_handler(kind, _answer_problem)
    app.add_exception_handler(Exception, _answer_bug)  # which the door hears of as well
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    return app


@asynccontextmanager
async def _alive(service: Service) -> AsyncIterator[None]:
    yield
    service.close()


def _problem(text: str) -> dict[str, Any]:
    example = json.loads(document(ProblemError(422, "image 1 is not an image that Pillow can read")))
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"type": "object"}, "example": example}}}


def _answer_problem(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    return Response(document(problem), problem.status, problem.headers, MEDIA_TYPE)


def _answer_bug(request: Request, error: Exception) -> Response:
    return Response(document(BUG), BUG.status, media_type=MEDIA_TYPE)


def as_problem(error: Exception) -> ProblemError:
    """Say what went wrong as a problem."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, HTTPException):
        return ProblemError(error.status_code, _of_http(error), error.headers)
    if isinstance(error, RequestValidationError):
        return invalid(error.errors())
    if isinstance(error, ClientDisconnect):  # nobody hears it
        return ProblemError(400, "the client went away before its body had come")
    if isinstance(error, TimeoutError):
        return ProblemError(503, "this took longer than a request may; ask for less", {"Retry-After": "1"})
    return ProblemError(501 if isinstance(error, MissingExtraError) else 422, str(error))


def _of_http(error: HTTPException) -> str:
    said = {404: "there is nothing here; /openapi.json lists what there is", 405: "this path has other methods"}
    return said.get(error.status_code, str(error.detail))
