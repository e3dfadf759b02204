"""A model's queue: what waits is answered together, by one thread.

Nothing is waited for. A request that comes alone is answered alone, with all threads on its one image, which is
quickest; those that came meanwhile are a batch, for which OpenVINO runs a stream a core, and a GPU all at once.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")
SMOOTH = 0.1  # the share of the last batch in the mean seconds of one


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Given]):
    asked: Asked
    answer: "Future[Given]"
    since: float = field(default_factory=time.perf_counter)


class Lane(Generic[Asked, Given]):
    """Ask a function that answers several at once, from any number of tasks.

    most: at a time. hear: is told of each batch its size and how many seconds each of it waited.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Given]],
        most: int,
        hear: Callable[[Sequence[float]], object] = len,
    ) -> None:
        self._answer, self._most, self._hear = answer, most, hear
        self._queue: queue.SimpleQueue[_Waiting[Asked, Given] | None] = queue.SimpleQueue()
        self._wait: float | None = None
        self.seconds = 0.0  # that one takes, in the mean of the last
        threading.Thread(target=self._work, daemon=True, name="lane").start()

    async def ask(self, asked: Asked) -> Given:
        """Give the answer; a task that is cancelled meanwhile leaves the queue."""
        answer: Future[Given] = Future()
        self._queue.put(_Waiting(asked, answer))
        return await asyncio.wrap_future(answer)

    def close(self, after: float) -> None:
        """End once nothing has been asked for some seconds: who took the model before it was replaced may still ask."""
        self._wait = after
        self._queue.put(None)

    def _work(self) -> None:
        while waiting := self._next():
            taken = [one for one in waiting if one is not None and one.answer.set_running_or_notify_cancel()]
            if taken:
                self._take(taken)

    def _next(self) -> list[_Waiting[Asked, Given] | None]:
        """Wait for one, and take along what else is there; nothing is the end."""
        found: list[_Waiting[Asked, Given] | None] = []
        with suppress(queue.Empty):
            found.append(self._queue.get(timeout=self._wait))
            while len(found) < self._most:
                found.append(self._queue.get_nowait())
        return found

    def _take(self, taken: list[_Waiting[Asked, Given]]) -> None:
        begin = time.perf_counter()
        self._hear([begin - one.since for one in taken])
        self._give(taken)
        took = (time.perf_counter() - begin) / len(taken)
        self.seconds = took if not self.seconds else (1 - SMOOTH) * self.seconds + SMOOTH * took

    def _give(self, taken: list[_Waiting[Asked, Given]]) -> None:
        try:
            found = self._answer([one.asked for one in taken])
        except Exception as error:  # it is for whoever waits, and not for who came along
            if len(taken) == 1:
                taken[0].answer.set_exception(error)
            else:
                for one in taken:
                    self._give([one])
            return
        for one, given in zip(taken, found, strict=True):
            one.answer.set_result(given)


async def in_thread(pool: Executor, function: Callable[..., Given], *given: Any) -> Given:
    """Run a function in a pool's thread."""
    return await asyncio.get_running_loop().run_in_executor(pool, function, *given)
