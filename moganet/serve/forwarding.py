"""Behind the door of a service of many processes: a request goes to a replica, and to another where that one dies."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from moganet.notices import say
from moganet.serve.app import as_problem, bare_application
from moganet.serve.figures import Figures
from moganet.serve.inference_protocol import routes_of_process as protocols_routes
from moganet.serve.limits import Limits
from moganet.serve.page import STREAMED
from moganet.serve.problems import ProblemError
from moganet.serve.replica import Asked, Replied
from moganet.serve.service import check_ready
from moganet.serve.watching import routes_of_process

TRAVELS = (  # of a request's scope
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server"),
)
OWN = ("/healthz", "/metrics", "/v2/health/live")
READY = ("/readyz", "/v2/health/ready")
SOON = 5.0  # seconds for which it is asked whether a replica is ready, and between two lines about dead ones
LATER = {"Retry-After": "5"}


class ReplicaDiedError(Exception):
    """The process that was asked ended before it had answered, or can't be reached."""


class Replicas(Protocol):
    """The processes that answer, asked by whoever knows where they are. number: how many are there at least."""

    number: int

    def ask(self, asked: Asked) -> Awaitable[Replied]:
        """Ask one of them. Raises ReplicaDiedError."""

    def stream(self, asked: Asked) -> AsyncGenerator[Replied, None]:
        """Ask one of them for an answer in parts. Raises ReplicaDiedError."""


class _Route(NamedTuple):
    path: str


class Front:
    """The application that stands for those of the replicas.

    A request is sent whole, once its body has come. Where its replica dies it is asked once more: an answer depends on
    the request alone, so that nothing is done twice. What is of this process (is it alive, the figures) it says itself.
    origins: of pages of other sites that may ask.
    """

    replicas: Replicas  # others may take their place

    def __init__(self, limits: Limits, origins: Sequence[str] = (), replicas: Replicas | None = None) -> None:
        if replicas is not None:
            self.replicas = replicas
        self.limits, self.figures = limits, Figures()
        self.ready = True
        self._seconds, self._said = 0.0, -SOON
        self._own = bare_application(origins)
        self._own.include_router(routes_of_process(self.figures))
        self._own.include_router(protocols_routes(), prefix="/v2")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OWN:
            await self._own(scope, receive, send)
            return
        if is_asked := scope["path"] in READY:
            check_ready(self.ready)
        asked = Asked({name: scope[name] for name in TRAVELS if name in scope}, await _whole(receive))
        try:
            async with asyncio.timeout(SOON if is_asked else self.limits.seconds):
                await self._forward(asked, scope, send)
        except TimeoutError:
            raise ProblemError(503, "no replica answers; try again later", LATER) from None

    async def _forward(self, asked: Asked, scope: Scope, send: Send) -> None:
        streamed, begun = scope["path"] in STREAMED, False
        for last in (False, True):
            try:
                if not streamed:
                    await self._pass_on(await self.replicas.ask(asked), scope, send)
                    return
                async with aclosing(self.replicas.stream(asked)) as parts:
                    async for part in parts:
                        begun = True
                        await self._pass_on(part, scope, send)
                return
            except ReplicaDiedError as error:
                self._hear_of(error)
                if last or begun:
                    raise ProblemError(503, "the replica that was asked died; try again later", LATER) from error
                self.figures.repeated.inc()

    def _hear_of(self, error: ReplicaDiedError) -> None:
        if time.monotonic() - self._said >= SOON:  # each of its requests hears of it
            self._said = time.monotonic()
            say(f"a replica died, and what it was asked is asked again: {error}", doubtful=True)

    async def _pass_on(self, replied: Replied, scope: Scope, send: Send) -> None:
        if replied.route is not None:
            scope["route"] = _Route(replied.route)  # where the door looks for it
        self.figures.note(replied.noted)
        self._seconds = replied.seconds or self._seconds
        for message in replied.messages:
            await send(message)
        if replied.bug is not None:
            raise RuntimeError(f"in a replica: {replied.bug}")

    def seconds(self) -> float:
        """Give how long an image takes where it is answered, in the mean of the last."""
        return self._seconds / self.replicas.number


async def _whole(receive: Receive) -> bytes:
    """Take a request's body."""
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise as_problem(ClientDisconnect())
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
