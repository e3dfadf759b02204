"""What a person should hear about what was decided for them: a line on stderr, and `notes` in a verb's result."""

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger("moganet")
_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)
_recorded: ContextVar[list[tuple[str, bool]] | None] = ContextVar("recorded", default=None)
_silent: ContextVar[bool] = ContextVar("silent", default=False)
Arguments = ParamSpec("Arguments")
Given = TypeVar("Given")

# What steers a terminal or can't be seen: controls (C0, DEL, C1), marks and overrides of direction, ends of lines and
# paragraphs, characters without width, and halves of surrogate pairs, which stand for bytes that aren't UTF-8. The
# joiners U+200C and U+200D stay, since scripts and emoji are written with them.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0001]"
)


def printable(text: object) -> str:
    r"""Give a text as one line that shows what is in it and steers nothing: a newline becomes \n, ESC \x1b."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def say(text: str, *, doubtful: bool = False) -> None:
    """Say, once within a verb, what was taken for what or passed over, and how to choose otherwise.

    doubtful: it may well be wrong, so that users of Python hear it too.
    """
    if (recorded := _recorded.get()) is not None and (text, doubtful) not in recorded:
        recorded.append((text, doubtful))
    if remember(text) and not _silent.get():
        logger.log(logging.WARNING if doubtful else logging.INFO, "%s", text)


def heard() -> list[str]:
    """Give what the verb at work has said so far."""
    return list(_heard.get() or ())


def remember(text: str) -> bool:
    """Note what is said in another way, by a Python warning; tell whether it is new to the verb at work."""
    said = _heard.get()
    if said is None:
        return True
    if text in said:
        return False
    said.append(text)
    return True


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what is said within the block, in the order in which it is said."""
    outer = _heard.get()
    if outer is not None:  # a verb within a verb: what it says belongs to both, and is said once
        yield outer
        return
    said: list[str] = []
    token = _heard.set(said)
    try:
        yield said
    finally:
        _heard.reset(token)


@contextmanager
def silently() -> Iterator[None]:
    """Let what is said within the block stand in results alone: it is for a client, and not for who runs a service."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextmanager
def recording() -> Iterator[list[tuple[str, bool]]]:
    """Write down what is said within the block, and whether it is doubtful, to say it again another time."""
    said: list[tuple[str, bool]] = []
    token = _recorded.set(said)
    try:
        yield said
    finally:
        _recorded.reset(token)


def noted(verb: Callable[Arguments, Given]) -> Callable[Arguments, Given]:
    """Let a verb's result, typed or a dict, hold `notes`: those it came with, and what was said while it worked."""

    @functools.wraps(verb)
    def listened(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Given:
        with listening() as said:
            result: Any = verb(*args, **kwargs)
        if result:
            notes = list(dict.fromkeys([*result.get("notes", ()), *said]))
            result = result.changed(notes=notes) if hasattr(result, "changed") else {**result, "notes": notes}
        given: Given = result
        return given

    return listened
