"""Threads that ask one model at once, and processes forked from one that has a model.

A forked process has none of its parent's threads: neither those that would give a lock back, nor those that torch and
the runtimes divide their work among. Who waits for them waits for ever.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from moganet.notices import say

_guards: "WeakSet[Guard]" = WeakSet()
_settled_in = _loaded_in = os.getpid()
Made = TypeVar("Made")


class Guard:
    """A lock that a thread may take again, that is free in a forked process, and that a copy does not share."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _guards.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Guard, ()


def _renew_guards() -> None:
    for guard in list(_guards):
        guard._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_guards)


def is_forked() -> bool:
    """Tell whether this process was forked from the one that loaded the package."""
    return os.getpid() != _loaded_in


def settle_after_fork() -> None:
    """Let a forked process compute in its one thread, as torch's own workers do, and say so."""
    global _settled_in
    if os.getpid() == _settled_in:
        return
    _settled_in = os.getpid()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        say("this process was forked from one that had loaded torch: it computes with one thread; use spawn for more")


class OncePerProcess(Generic[Made]):
    """What is made when it is first needed, and anew in a forked process."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make, self._guard = make, Guard()
        self._made: dict[int, Made] = {}  # by process; a parent's is kept, since its end would wait for its threads

    def get(self) -> Made:
        process = os.getpid()
        if process not in self._made:
            with self._guard:
                if process not in self._made:
                    self._made[process] = self._make()
        return self._made[process]
