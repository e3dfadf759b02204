"""train.log in a run's folder: what a training said, with times; a run that goes on appends to it.

What is said before the folder is the run's own is held until then, and lost with a run that never begins.
"""

import logging
import os
import platform
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moganet.errors import MogaNetError
from moganet.files import open_to_append
from moganet.launchers import is_first_launched
from moganet.notices import printable, say

LOG_FILE = "train.log"
OF_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


class RunLog(logging.Handler):
    """What is written goes to the file that `begin` opens. limit: the level from which on others hear records too."""

    def __init__(self, limit: int, *, passes_on: bool) -> None:
        super().__init__()
        self.passes_on = passes_on
        self.limit, self.held, self.descriptor = limit, list[str](), -1
        self.is_closed = not is_first_launched()

    def begin(self, folder: Path) -> None:
        """Open the file, and write what was held."""
        if self.descriptor >= 0 or self.is_closed:
            return
        try:
            self.descriptor = open_to_append(folder / LOG_FILE)
        except OSError as error:
            self.is_closed = True
            say(f"no {LOG_FILE} is written: {error.strerror}", doubtful=True)
            return
        where = f"torch {version('torch')}, Python {platform.python_version()}, {platform.platform()}"
        held, self.held = self.held, []
        for line in (f"--- moganet {version('moganet')}, {where}", *held):
            self._append(line)

    def end(self) -> None:
        """Write no more."""
        self.is_closed = True
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def write(self, text: str) -> None:
        """Write lines under the time of now, what steers a terminal escaped."""
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        for line in text.splitlines() if not self.is_closed else ():
            stamped = f"{now} {printable(line)}"
            self.held.append(stamped) if self.descriptor < 0 else self._append(stamped)

    def _append(self, line: str) -> None:
        with suppress(OSError):  # of a full disk the run itself will hear
            os.write(self.descriptor, f"{line}\n".encode(errors="backslashreplace"))

    def emit(self, record: logging.LogRecord) -> None:
        self.write(f"{'' if record.levelno < logging.WARNING else 'warning: '}{record.getMessage()}")
        if self.passes_on and record.levelno >= self.limit:  # to those whom it would have reached
            logging.getLogger().handle(record)


@contextmanager
def logged() -> Iterator[RunLog]:
    """Write down what the package and Python's warnings say within the block, and how it ends where it fails.

    Others hear what they would have heard.
    """
    logger, shows = logging.getLogger("moganet"), warnings.showwarning
    before = logger.level, logger.propagate
    log = RunLog(logger.getEffectiveLevel(), passes_on=logger.propagate)

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, OF_DEVELOPERS):
            log.write(f"warning: {message}")
        shows(message, category, *rest, **more)

    logger.addHandler(log)
    logger.setLevel(min(log.limit, logging.INFO))
    logger.propagate = False  # the handler passes on
    warnings.showwarning = show
    try:
        yield log
    except BaseException as error:
        known = isinstance(error, MogaNetError | KeyboardInterrupt)
        log.write(f"ended: {error}" if known else "".join(traceback.format_exception(error)))
        raise
    finally:
        warnings.showwarning = shows
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.removeHandler(log)
        log.end()
