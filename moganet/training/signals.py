"""How a run is stopped: by signals, which wait for the end of a step; and which of several processes speaks."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]

from moganet.launchers import by_torchrun
from moganet.notices import say

SPEAK = 5.0  # seconds in which one of several processes says why it ends, before a launcher's SIGTERM ends it
PROCESSES_WAIT = timedelta(minutes=10)  # of several processes for each other, at the beginning and within the run
# Of Ctrl-C, a launcher, and a terminal that is closed.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
STOPPING = b"\nmoganet: saving after this step (after validation, if that runs); a second signal stops at once\n"


class RunStopped(KeyboardInterrupt):
    """A run was asked to stop (Ctrl-C, SIGTERM, SIGHUP); its text is one line that says what was kept."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Signals:
    """The signals that stop a run, from its beginning to its end. received: the last that came.

    state: "before" the first step; then "within" the steps, and "after" them, whatever ended them.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.state = "before"
        self._handlers: dict[signal.Signals, Any] = {}

    def take(self) -> None:
        """Have the signals that stop until `restore`: a launcher's SIGTERM must not cut short what is said."""
        if _in_main_thread():
            for number in STOP_SIGNALS:
                if number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) == signal.SIG_IGN:
                    continue  # nohup
                self._handlers.setdefault(number, signal.getsignal(number))
                signal.signal(number, self.on_signal)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by other than Python
        self._handlers = {}

    @contextmanager
    def held(self, trainer: pl.Trainer) -> Iterator[None]:
        """Have the signals while a run goes on; where it fails beside others, its process has a moment to say why."""
        several = trainer.world_size > 1
        self._await_others(trainer) if several else self.take()
        try:
            yield
        except BaseException:
            # A launcher ends the others of a job within a tenth of a second of one's end.
            if several and self._handlers.get(signal.SIGTERM) == signal.SIG_DFL:
                self._handlers[signal.SIGTERM] = _end_later
            raise
        finally:
            self.restore()

    def _await_others(self, trainer: pl.Trainer) -> None:
        """Say that the other processes are waited for, and let a signal end that at once: no handler runs meanwhile."""
        if is_first_process():
            what = f"waiting for the other processes of {trainer.world_size}, {PROCESSES_WAIT.seconds} s at the most"
            say(f"{what}; torchrun, srun or trainer.devices starts them")
        if _in_main_thread():
            self._handlers.setdefault(signal.SIGINT, signal.getsignal(signal.SIGINT))
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note what came, for the end of the step; outside the steps, and the second time, stop at once."""
        again, self.received = self.received is not None, signal.Signals(number)
        # A launcher may pass on to each process what reached all of them.
        passed_on = number != signal.SIGINT and by_torchrun()
        if self.state == "before" or (again and not passed_on):
            raise KeyboardInterrupt
        if self.state == "within" and is_first_process():  # not by print, which a signal may have interrupted
            os.write(2, STOPPING)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    timer = threading.Timer(SPEAK, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def _in_main_thread() -> bool:  # where signals can be handled
    return threading.current_thread() is threading.main_thread()


def is_first_process() -> bool:
    """Tell whether this is the process that writes; torchrun, SLURM and Lightning say so in the environment."""
    return not getattr(rank_zero_only, "rank", 0)
