"""How many threads compute, and by whose word; that they sleep while they wait for each other is set here too.

A number holds for all that computes: torch, OpenVINO, onnxruntime, what reads images ahead, and BLAS.
"""

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar

from moganet.errors import ConfigError
from moganet.machine import affinity, num_cores, num_others
from moganet.notices import say
from moganet.numbers import count

VARIABLE, BLAS = "OMP_NUM_THREADS", ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OURS = "MOGANET_THREADS"  # beside the variable, for processes that are started here: the same number, where it is ours
# libgomp's threads spin some milliseconds for each other. Where another process has the core of the one that is waited
# for, two threads then give a tenth of what one gives, and those that sleep more than one. Where each has a core of its
# own, sleeping costs 40 % of small networks' rates (benchmarks/busy.py). The library reads this once.
SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SLEEPS = "PASSIVE"
MOST = 4096
Arguments = ParamSpec("Arguments")
Given = TypeVar("Given")

_asked: list[int] = []  # by the blocks at work; the last one's holds
_before: list[Any] = [0, None]  # the number before the first of them, and what the environment said
_lock = threading.Lock()
_loaded_in = os.getpid()


class Threads(NamedTuple):
    """How many threads compute, and why so many."""

    number: int
    why: str


def prepare_threads() -> None:
    """Let what is loaded after this package start as many threads as the quota allows; what was loaded, keep to it.

    What the user has set stays.
    """
    said = any(name in os.environ for name in SPINNING)
    if sys.platform == "linux" and not said and num_others() > (os.cpu_count() or 1) - num_cores():
        os.environ[SPINNING[0]] = SLEEPS
    if VARIABLE in os.environ or num_cores() >= affinity():
        return
    os.environ[OURS] = str(num_cores())
    for name in (VARIABLE, *BLAS):
        os.environ.setdefault(name, str(num_cores()))
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > num_cores():
        torch.set_num_threads(num_cores())


def choice_of_threads() -> Threads:
    """Say how many threads compute here: as asked, as torch has it where it is there, or as a new process would."""
    if _asked:
        return Threads(_asked[-1], "as asked by threads")
    cores, torch = num_cores(), sys.modules.get("torch")
    named = _of_environment()
    number = int(torch.get_num_threads()) if torch is not None else named or cores
    if number == named and not _is_ours():
        return Threads(number, f"{VARIABLE} in the environment; {count(cores, 'core')} may be used")
    if number != cores:
        return Threads(number, f"torch's own choice; {count(cores, 'core')} may be used")
    there = os.cpu_count() or cores
    if cores < affinity():
        return Threads(number, f"the quota of this process's container, of {count(there, 'core')}")
    return Threads(number, "one a core" if cores == there else f"the cores given to this process, of {there}")


def do_sleep() -> bool:
    """Tell whether torch's threads are to sleep while they wait for each other."""
    return os.environ.get(SPINNING[0], "").upper() == SLEEPS


def share_cores(processes: int) -> None:
    """Let torch compute with this process's share of the cores, where several compute; a number that was said holds."""
    torch: Any = sys.modules["torch"]
    if not _asked and (_of_environment() is None or _is_ours()):
        torch.set_num_threads(max(1, num_cores() // processes))


def _is_ours() -> bool:
    return os.environ.get(OURS) == os.environ.get(VARIABLE)


def num_threads() -> int:
    """Give the number of threads that compute here."""
    return choice_of_threads().number


def num_helpers() -> int:
    """Give how many threads or processes may work beside each other at what is no computation, as reading images is."""
    return _asked[-1] if _asked else num_cores()


def _of_environment() -> int | None:
    asked = os.environ.get(VARIABLE, "").partition(",")[0].strip()  # "4,2" is of threads within threads
    return int(asked) if asked.isdecimal() and int(asked) else None


def check_threads(number: Any) -> None:
    """Raise ConfigError for a number of threads that can't be."""
    if number is None:
        return
    if isinstance(number, bool) or not hasattr(number, "__index__") or not 1 <= number <= MOST:
        raise ConfigError(f"threads is {number!r}; give a whole number from 1 to {MOST}, or nothing for {num_cores()}")
    if number > num_cores():
        may = f"this process may use {count(num_cores(), 'core')}, so that they wait for each other"
        say(f"{number} threads were asked for, but {may}", doubtful=True)


@contextmanager
def using_threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads within the block, in torch and in what is made ready within; None changes nothing.

    Several threads may be in such blocks at once: the last to enter decides. A forked process computes with one.
    """
    if number is None or os.getpid() != _loaded_in:
        yield
        return
    number = int(number)  # numpy has others
    with _lock:
        if not _asked:
            _before[:] = [num_threads(), os.environ.get(VARIABLE)]
        _asked.append(number)
        _apply(number)
    try:
        yield
    finally:
        with _lock:
            if number in _asked:  # not in a process that was forked within the block
                _leave(number)


def _leave(number: int) -> None:
    del _asked[len(_asked) - 1 - _asked[::-1].index(number)]
    _apply(_asked[-1] if _asked else _before[0])
    if not _asked:
        _put_back(_before[1])


def _apply(number: int) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != number:
        torch.set_num_threads(number)
    os.environ[VARIABLE] = str(number)  # for what is loaded within the block


def _put_back(value: str | None) -> None:
    if value is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = value


def _forget() -> None:
    global _lock
    _asked.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def threaded(verb: Callable[Arguments, Given]) -> Callable[Arguments, Given]:
    """Let a verb that takes `threads` compute with so many, BLAS among what computes."""

    @functools.wraps(verb)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Given:
        number: Any = kwargs.get("threads")
        check_threads(number)
        if number is None:
            return verb(*args, **kwargs)
        limits = importlib.import_module("threadpoolctl").threadpool_limits  # which scikit-learn brings
        with limits(number, "blas"), using_threads(number):
            return verb(*args, **kwargs)

    return run
