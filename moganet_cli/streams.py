"""The standard streams of a command: in any locale, closed, full or broken, and what is left behind at its end."""

import errno
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from moganet_cli.app import EXIT_UNHEARD, EXIT_USER
from moganet_cli.output import complain


def prepare() -> None:
    """Let every text be written, whatever the locale, and put nothing in the place of a stream that is closed.

    A file that is opened later would otherwise take the stream's number, and get what libraries print there.
    """
    was_closed = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if was_closed:
        complain("moganet: stdout is closed, so that results are not printed")


def flush(code: int) -> int:
    """Write what is still held back, and give the exit code: another one where stdout takes no more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            _silence(stream)
            number = getattr(error, "errno", None)
            if stream is sys.stdout and not code:
                code = EXIT_UNHEARD if number == errno.EPIPE else EXIT_USER
                if code == EXIT_USER:
                    complain(f"moganet: can't write to stdout: {getattr(error, 'strerror', error)}")
    return code


def end_children() -> None:
    """Leave no process behind: a worker that ignores signals, or waits for what never comes, holds up the end."""
    multiprocessing: Any = sys.modules.get("multiprocessing")
    if multiprocessing and hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own handler raises when a worker dies
    for child in multiprocessing.active_children() if multiprocessing else ():
        with suppress(OSError, ValueError):
            child.kill()


def end_now(code: int) -> None:
    """End the process as it is: the last rites of libraries, whose threads were cut off at work, may wait for ever."""
    os._exit(code)


def _silence(stream: Any) -> None:
    """Send what a broken stream still holds nowhere, so that Python does not try again at its end and complain."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
