"""A process that answers for the one that listens: the application, asked with whole requests that it is sent."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import Message, Send

from moganet.errors import WeightsError
from moganet.notices import recording
from moganet.processors import using_threads
from moganet.serve.figures import FiguresToSend, Noted
from moganet.serve.hosted import Serving
from moganet.serve.plan import Plan, open_service
from moganet.serve.service import VERSION, Service


@dataclass(frozen=True)
class Asked:
    """A request: of its ASGI scope what travels, and its body."""

    scope: Mapping[str, Any]
    body: bytes


class Replied(NamedTuple):
    """An answer, or a part of one: ASGI's messages.

    With the last part come the request's route where it is known, what was noted for the figures, the seconds that an
    image takes, and of a request that failed by our bug the traceback.
    """

    messages: Sequence[Message]
    route: str | None = None
    noted: tuple[Noted, ...] = ()
    seconds: float = 0.0
    bug: str | None = None


class Looked(NamedTuple):
    """What a model was found to be when it was tried. stamp: as of `Opened`."""

    serving: Serving
    stamp: str


class Rehearsed(NamedTuple):
    """What came of a plan that was tried: what the models are, the default first, and what was said meanwhile."""

    version: str
    looked: Mapping[str, Looked]
    said: Sequence[tuple[str, bool]]


def rehearse(plan: Plan) -> Rehearsed:
    """Make all of a plan once, where replicas will be: what is wrong with it is found before one is started.

    Raises what `Replica` raises.
    """
    with recording() as said:
        looked = Replica(plan).looked()
    return Rehearsed(VERSION, looked, said)


class Replica:
    """The application in a process of its own; of several, each has all models.

    stamps: of the models' files as they must be, by name, None as they are found: of several replicas none answers by
    another file. Raises what loading raises, and WeightsError for such a file.
    """

    def __init__(self, plan: Plan, stamps: Mapping[str, str] | None = None) -> None:
        self._open = ExitStack()
        self._open.enter_context(using_threads(plan.threads))
        self.figures = FiguresToSend()
        self.service: Service = open_service(plan.sources, plan.limits, self.figures)
        self.app = plan.application(self.service)
        for hosted in self.service.shelf.all():
            if stamps is not None and stamps[hosted.name] != hosted.opened.stamp:
                raise WeightsError(f"{hosted.source.model} is not the file here that the service was started with")

    def looked(self) -> dict[str, Looked]:
        """Say what the models are, the default first."""
        return {one.name: Looked(one.serving, one.opened.stamp) for one in self.service.shelf.all()}

    async def answer(self, asked: Asked) -> Replied:
        """Answer a request."""
        messages = list[Message]()

        async def keep(message: Message) -> None:
            messages.append(message)

        return await self._answered(asked, keep, messages)

    async def stream(self, asked: Asked) -> AsyncIterator[Replied]:
        """Answer a request part by part, as they come."""
        waiting = asyncio.Queue[Message | None]()
        work = asyncio.ensure_future(self._answered(asked, waiting.put, ()))
        work.add_done_callback(lambda _: waiting.put_nowait(None))
        try:
            while (message := await waiting.get()) is not None:
                yield Replied((message,))
            yield work.result()
        finally:
            work.cancel()

    async def _answered(self, asked: Asked, send: Send, messages: Sequence[Message]) -> Replied:
        coming, scope = [{"type": "http.request", "body": asked.body, "more_body": False}], dict(asked.scope)

        async def receive() -> Message:
            if coming:
                return coming.pop()
            return await asyncio.Future[Message]()  # that the client went away is told by cancelling

        bug = None
        try:
            await self.app(scope, receive, send)
        except Exception:  # which has answered 500 by now
            bug = traceback.format_exc()
        route = getattr(scope.get("route"), "path", None)
        return Replied(messages, route, self.figures.taken(), self.service.seconds(), bug)
