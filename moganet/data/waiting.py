"""How long an image that another process or thread reads is waited for: never endlessly, and not in silence."""

import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from moganet.errors import ConfigError, WorkerError
from moganet.notices import say

LIMIT = "MOGANET_WAIT"  # seconds without an image after which those that read them are given up
DEFAULT_LIMIT, SAY_AFTER = 300.0, 20.0  # seconds
Read = TypeVar("Read")


def limit_of_waiting() -> float:
    """Give the limit in seconds. Raises ConfigError for one that is no number of seconds."""
    text = os.environ.get(LIMIT) or str(DEFAULT_LIMIT)
    with suppress(ValueError):
        if 0 < (limit := float(text)) < threading.TIMEOUT_MAX:
            return limit
    raise ConfigError(f"{LIMIT} is {text!r}; it must be a number of seconds, say {DEFAULT_LIMIT:g}")


def wait_for(answer: "Future[Read]", limit: float, readers: str, remedy: str) -> Read:
    """Give an answer when it is there. Raises WorkerError where none comes."""
    for seconds in (min(SAY_AFTER, limit), max(0.0, limit - SAY_AFTER)):
        try:
            return answer.result(seconds)
        except TimeoutError:
            if answer.done():  # it may be the answer's own
                return answer.result()
            say(f"waiting for the {readers} that read images, {limit:g} s at the most ({LIMIT} sets that)")
    why = f"stopped, or on a slow disk: {LIMIT} in the environment is the limit"
    raise WorkerError(f"the {readers} that read images gave nothing for {limit:g} s ({why}); {remedy}")
