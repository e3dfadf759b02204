"""Processes of their own, forked from one that has imported the package already: to start one takes no seconds."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["moganet_cli", "moganet.engine.report", "moganet.training.run"])
barrier = _context.Barrier  # for processes that begin at once


class OwnProcess:
    """A function that runs in a process of its own, with what it says on stderr; asked as a `subprocess.Popen` is.

    leads: whether it leads a group of processes. environment: what is set there beside this process's own.
    """

    def __init__(self, function: Callable[..., object], *arguments: object, leads: bool = False, **environment: str):
        number, self._said = tempfile.mkstemp()
        os.close(number)
        how = (self._said, multiprocessing.get_start_method(), leads, {**os.environ, **environment})
        self.process = _context.Process(target=_run, args=(how, function, arguments))
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    poll = returncode.fget

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """Wait for the end, and give what was said."""
        self.process.join(timeout)
        if self.returncode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(str(self.process), timeout or 0)
        said = Path(self._said).read_text()
        Path(self._said).unlink()
        return None, said


def command(*arguments: object, leads: bool = False) -> OwnProcess:
    """Start `moganet` with arguments, as a shell would."""
    return OwnProcess(_moganet, *map(str, arguments), leads=leads)


def _run(
    how: tuple[str, str, bool, dict[str, str]], function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    said, method, leads, environment = how
    multiprocessing.set_start_method(method, force=True)  # its own processes are started as ever
    if leads:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for file, number in ((os.devnull, 1), (said, 2)):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    function(*arguments)


def _moganet(*arguments: str) -> None:
    import moganet_cli

    sys.argv = ["moganet", *arguments]
    moganet_cli.main()
