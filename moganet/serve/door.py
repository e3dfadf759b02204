"""The door of the service: who may come in, with how much, and for how long; it counts who came, and what of it."""

import asyncio
import base64
import binascii
import contextlib
import hmac
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moganet.notices import printable
from moganet.serve.figures import Figures
from moganet.serve.limits import Limits
from moganet.serve.problems import MEDIA_TYPE, ProblemError, document

logger = logging.getLogger("moganet.serve")
OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # without a token, for whoever watches over it
OURS, WORKS = ("/v1/", "/v2/"), ("/v1/predict", "/v1/explain")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
DRAINED, PATIENCE = 64 << 20, 5.0  # bytes and seconds, of a refused body
BUG = ProblemError(500, "the service has a bug here; its log says more")
# A line each: of several in one, Chromium sees the first alone.
SCHEMES = ('Basic realm="moganet", charset="UTF-8"', 'Bearer realm="moganet"')
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "SAMEORIGIN"}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    token: what must be shown, None: nothing. hosts: names by which the service may be called; none: any.
    origins: of pages of other sites that may ask.
    """

    token: str | None = None
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()


@dataclass
class _Visit:
    """One request: when its head came, its route where it is known, and the status that it was answered with.

    HEAD is GET to the application; the server leaves the body out.
    """

    scope: Scope
    method: str
    begin: float = field(default_factory=time.perf_counter)
    status: int = 0
    held: int = 0  # bytes of its body
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # its body has

    @property
    def route(self) -> str:
        """Give the route's pattern: of paths as they come there would be no end."""
        known = self.scope["path"] if self.scope["path"] in WORKS else "other"  # of one refused at the door
        return getattr(self.scope.get("route"), "path", None) or known


class Behind(Protocol):
    """What a door is told of what lies behind it."""

    limits: Limits
    figures: Figures

    def seconds(self) -> float:
        """Give how long one image takes, in the mean of the last."""


class Door:
    """Let in what is within the limits and shows the token; refuse the rest by problem documents."""

    def __init__(self, app: ASGIApp, service: Behind, access: Access) -> None:
        self.app, self.service, self.access = app, service, access
        self.limits: Limits = service.limits
        self.accepted = self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":  # the service has none
            await send({"type": "websocket.close", "code": 1008})
        else:
            method = scope["method"]
            within = {**scope, "method": "GET"} if method == "HEAD" else scope
            await self._visited(_Visit(within, method), receive, send)

    async def _visited(self, visit: _Visit, receive: Receive, send: Send) -> None:
        reply = self._noting(visit, send)
        try:
            self._check(visit.scope)
            await self._let_in(visit, receive, reply)
        except ProblemError as problem:
            await self._refuse(problem, visit, receive, reply)
        except Exception:  # our bug: told to whoever runs the service, and not to the client
            logger.exception("a request of %s failed; this is a bug of moganet, please report it", visit.route)
            await self._refuse(BUG, visit, receive, reply)
        finally:
            self.held -= visit.held
            self._count(visit)

    def _noting(self, visit: _Visit, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                given = Headers(raw=message["headers"])
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in SAFE.items() if name not in given),
                ]
            await send(message)

        return noting

    # Who comes in

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["path"] in OPEN:
            return
        self._check_host(headers)
        if scope["method"] == "OPTIONS":
            return
        self._check_origin(scope, headers)
        if self.access.token is not None and not shows(headers.get("authorization", ""), self.access.token):
            how = {"WWW-Authenticate": "\n".join(SCHEMES)}
            raise ProblemError(401, "show the token: Authorization: Bearer TOKEN (in a browser: as the password)", how)

    def _check_host(self, headers: Headers) -> None:
        """Refuse other names for this machine alone: a page of another site could have its own name lead here."""
        if not self.access.hosts:
            return
        if _host_of(headers) not in self.access.hosts:
            raise ProblemError(
                421, f"this service answers to {', '.join(self.access.hosts)}; say --host to change that"
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Refuse what a page of another site sends by its visitor's browser."""
        origin = headers.get("origin")
        if origin is None or scope["method"] == "GET" or {origin, "*"} & set(self.access.origins):
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise ProblemError(403, f"pages of {origin[:200]} may not ask here; say --cors ORIGIN to allow it")

    # With how much, and how long

    async def _let_in(self, visit: _Visit, receive: Receive, send: Send) -> None:
        scope = visit.scope
        works = scope["method"] == "POST" and scope["path"].startswith(OURS)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.limits.bytes:
            raise self._too_large()
        if not works:
            await self.app(scope, self._counting(visit, receive), send)
            return
        if self.accepted >= self.limits.queue or self.held >= self.limits.held:
            raise ProblemError(429, f"{self.accepted} requests wait already; try again later", self._later())
        self.accepted += 1
        self.service.figures.waiting.set(self.accepted)
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self._while_heard(visit, receive, send)
        except TimeoutError:
            if not visit.ended.is_set():
                visit.ended.set()  # it is not waited for any longer
                raise ProblemError(
                    408, f"the body did not come within {self.limits.seconds:g} s; send it again"
                ) from None
            what = f"no answer within {self.limits.seconds:g} s; ask for less, or later"
            raise ProblemError(503, what, self._later()) from None
        finally:
            self.accepted -= 1
            self.service.figures.waiting.set(self.accepted)

    async def _while_heard(self, visit: _Visit, receive: Receive, send: Send) -> None:
        """Answer, and break off where the client goes away meanwhile."""
        answering = asyncio.ensure_future(self.app(visit.scope, self._counting(visit, receive), send))
        leaving = asyncio.ensure_future(_gone(visit, receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ProblemError(499, "the client went away")
            await answering
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    def _counting(self, visit: _Visit, receive: Receive) -> Receive:
        async def counting() -> Message:
            message = await receive()
            size = len(message.get("body", b""))
            visit.held += size
            if not message.get("more_body", False):
                visit.ended.set()
            self.held += size
            if visit.held > self.limits.bytes:
                await self._drain(visit, receive)
                raise self._too_large()
            return message

        return counting

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"the body has more than the {self.limits.bytes:,} bytes that are accepted; send less")

    def _later(self) -> dict[str, str]:
        """Say after how many seconds those that wait will have been answered."""
        seconds = self.accepted * self.service.seconds()
        return {"Retry-After": str(min(60, max(1, math.ceil(seconds))))}

    # What of it

    async def _refuse(self, problem: ProblemError, visit: _Visit, receive: Receive, send: Send) -> None:
        if visit.status:  # it has begun to answer, and can only break off
            return
        await self._drain(visit, receive)
        await respond(problem, send)

    async def _drain(self, visit: _Visit, receive: Receive) -> None:
        """Take what is left of a body, up to a limit, and forget it: who still sends does not hear an answer."""
        if visit.ended.is_set() or "expect" in Headers(scope=visit.scope):
            return
        left, more = DRAINED, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = message.get("more_body", False)
        visit.ended.set()

    def _count(self, visit: _Visit) -> None:
        took, method = time.perf_counter() - visit.begin, visit.method
        method = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        self.service.figures.requests.labels(visit.route, method, str(visit.status)).inc()
        self.service.figures.seconds.labels(visit.route).observe(took)
        logger.debug("%s %s: %d in %.0f ms", method, printable(visit.scope["path"])[:200], visit.status, 1e3 * took)


async def _gone(visit: _Visit, receive: Receive) -> None:
    """Wait until a client that has sent its body goes away."""
    await visit.ended.wait()
    while (await receive())["type"] != "http.disconnect":
        pass


def shows(header: str, token: str) -> bool:
    """Tell whether a header shows the token, as Bearer or as Basic's password, in a time that says nothing of it."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            shown = base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return False
    elif scheme.lower() == "bearer":
        shown = value.encode("latin-1", "replace")  # the bytes that came
    else:
        return False
    given = (shown, shown.decode("latin-1").encode())  # clients send letters in UTF-8 or in Latin-1
    return any(hmac.compare_digest(one, token.encode()) for one in given)


def _host_of(headers: Headers) -> str | None:
    """Give the name by which the service is called, None where it is none."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return None


async def respond(problem: ProblemError, send: Send) -> None:
    """Send a problem document; of a header's value each line is a header."""
    content = document(problem)
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(content)), **problem.headers}
    lines = ((name, line) for name, value in headers.items() for line in value.split("\n"))
    raw = [(name.lower().encode(), line.encode("latin-1", "replace")) for name, line in lines]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
