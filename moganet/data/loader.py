"""Batches from processes that read images ahead: whatever befalls one of them is a line, and never an endless wait.

torch's DataLoader is not used: its workers answer through /dev/shm, of which a container may have little; a dead one
raises wherever the main process happens to be; one that is stopped holds up even the end. Here threads ask a process
at the end of a socket and wait for its answers, with a limit.
"""

import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from moganet.data.waiting import limit_of_waiting, wait_for
from moganet.errors import MogaNetError, WorkerError, first_line
from moganet.notices import say
from moganet.processors import num_helpers

AHEAD = 2  # batches a worker
MAX_WORKERS = 16
LESS = "--workers 1 needs less, 0 reads without such processes"


class Unreadable(NamedTuple):
    """A file that was left out, and why."""

    file: str
    reason: str


class Batch(NamedTuple):
    """Images (B, C, H, W), their targets as the task has them, and the files that could not be read.

    sizes: height and width of each image where they differ, and are filled up with zeros to one size.
    """

    images: Tensor
    targets: Any
    unreadable: tuple[Unreadable, ...] = ()
    places: tuple[int, ...] = ()  # where the images stand in their split
    seed: int | None = None  # of all that the device does to a training batch, from augmentation to stochastic depth
    sizes: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()  # what was said while it was read, perhaps in another process
    epoch: int = 0


class Batches(Protocol):
    """What is read a batch at a time."""

    def read(self, places: Sequence[Any]) -> Batch: ...


class Order(Sized, Protocol):
    """The places of each batch."""

    def __iter__(self) -> Iterator[Sequence[Any]]: ...


class Loader:
    """Batches in order, read ahead by `workers` processes (0: here and now), which stay until the loader goes.

    pins: whether images are put where a GPU takes them from at once.
    """

    pins = False

    def __init__(self, batches: Batches, order: Order, workers: int) -> None:
        self.batches, self.workers = batches, min(workers, len(order))
        self.batch_sampler = order  # the name by which Lightning finds it, to tell it the epoch
        self._team: _Team | None = None

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._ahead() if self.workers else map(self.batches.read, self.batch_sampler):
            for note in batch.notes:
                say(note)
            yield batch._replace(images=batch.images.pin_memory()) if self.pins else batch

    def end(self) -> None:
        """End the processes; another iteration would start new ones."""
        if self._team is not None:
            self._team.end()
            self._team = None

    def _ahead(self) -> Iterator[Batch]:
        if self._team is None:
            try:
                self._team = _Team(self.batches, self.workers)
            except NotSentError as error:
                say(f"images are read in this process alone: what gives them can't be sent to others ({error})")
                self.workers = 0
                yield from map(self.batches.read, self.batch_sampler)
                return
            weakref.finalize(self, self._team.end)  # at the interpreter's end at the latest
        order, team = iter(self.batch_sampler), self._team
        waiting = deque(team.ask(places) for places in islice(order, AHEAD * self.workers))
        try:
            while waiting:
                batch = team.wait(waiting.popleft())
                waiting.extend(team.ask(places) for places in islice(order, 1))
                yield batch
        except GeneratorExit:  # given up; the processes wait for the next iteration
            raise
        except BaseException:  # whoever keeps the error, as a notebook does, keeps this loader
            self.end()
            raise
        finally:
            for answer in waiting:
                answer.cancel()


def num_workers(asked: int | None, beside: int = 1) -> int:
    """Give the number of processes: as asked, else one for each core that this process may use.

    beside: how many processes of a job train on this machine, which share its cores.
    """
    return max(1, min(num_helpers() // beside, MAX_WORKERS)) if asked is None else asked


_Tasks = queue.SimpleQueue[tuple[Sequence[Any], "Future[Batch]"] | None]
_Answers = queue.SimpleQueue["Future[Batch] | None"]


class NotSentError(Exception):
    """What reads images is of a kind that no other process can be given."""


def _by_value(batches: Batches) -> bytes:
    try:
        sent = pickle.dumps(batches)
    except Exception as error:  # a caller's own data set may hold anything
        raise NotSentError(first_line(error)) from None
    if b"__main__" in sent and not hasattr(sys.modules["__main__"], "__file__"):
        raise NotSentError("its class was made in a notebook or at a prompt; put it in a module to read by processes")
    return sent


class _Team:
    """Processes that read batches; each is asked in its turn, for the next batch before it has given the last one."""

    # Our ends of the sockets of all teams, of which a forked worker closes its copies.
    ends: ClassVar[weakref.WeakSet[Connection]] = weakref.WeakSet()

    def __init__(self, batches: Batches, number: int) -> None:
        self.limit, self.asked = limit_of_waiting(), 0
        self.processes: list[Any] = []
        self.tasks: list[_Tasks] = [queue.SimpleQueue() for _ in range(number)]
        context = multiprocessing.get_context()
        forks = context.get_start_method() == "fork"
        # By value: torch would hand tensors over in /dev/shm.
        what = batches if forks else _by_value(batches)
        parent = os.getpid() if forks else None
        links = []
        try:
            for _ in range(number):
                ours, theirs = context.Pipe()
                self.ends.add(ours)
                process = context.Process(target=_work, args=(what, theirs, parent), daemon=True)
                process.start()
                theirs.close()  # so that ours ends when the process does
                self.processes.append(process)
                links.append(ours)
        except OSError as error:
            self.end()
            raise WorkerError(f"can't start {number} processes that read images ({error.strerror}); {LESS}") from None
        for process, link, tasks in zip(self.processes, links, self.tasks, strict=True):
            answers: _Answers = queue.SimpleQueue()
            # Once all are forked: a fork copies no thread. Two each, since either end of a socket may be full.
            threading.Thread(target=_hand_over, args=(tasks, answers, link), daemon=True).start()
            threading.Thread(target=_take_back, args=(answers, process, link), daemon=True).start()

    def ask(self, places: Sequence[Any]) -> "Future[Batch]":
        answer: Future[Batch] = Future()
        self.tasks[self.asked % len(self.tasks)].put((places, answer))
        self.asked += 1
        return answer

    def wait(self, answer: "Future[Batch]") -> Batch:
        """Give a batch when it is read. Raises WorkerError where none comes."""
        return wait_for(answer, self.limit, "processes", LESS)

    def end(self) -> None:
        """End the processes at once, even those that are stopped: they hold nothing."""
        for tasks in self.tasks:
            tasks.put(None)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join(1)


def _hand_over(tasks: "_Tasks", answers: "_Answers", link: Connection) -> None:
    while (task := tasks.get()) is not None:
        places, answer = task
        if answer.set_running_or_notify_cancel():
            answers.put(answer)
            with suppress(OSError):  # the process is gone, as the thread that waits for its answer learns too
                link.send_bytes(pickle.dumps(places))
    answers.put(None)


def _take_back(answers: "_Answers", process: Any, link: Connection) -> None:
    """Hand a process's answers to those who wait; once it is gone, its death."""
    ready, death = False, None
    while (answer := answers.get()) is not None:
        try:
            if death is None:
                ready = ready or bool(link.recv_bytes())
                answer.set_result(_unpacked(link.recv_bytes()))
        except (EOFError, OSError):
            death = _death(process, ready)
        except BaseException as error:
            answer.set_exception(error)
        if death is not None:
            answer.set_exception(death)


def _death(process: Any, ready: bool) -> WorkerError:
    process.join(2)
    code, what = process.exitcode, "a process that reads images"
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return WorkerError(f"{what} was killed ({name}{why}); {LESS}")
    if not ready:
        how = 'must do its work under `if __name__ == "__main__":`, or take workers=0'
        afresh = f"a script that is started afresh for each of them (spawn) {how}"
        return WorkerError(f"{what} ended as it started (exit code {code}); {afresh}")
    return WorkerError(f"{what} ended (exit code {code}); {LESS}")


def _unpacked(answer: bytes) -> Batch:
    found = pickle.loads(answer)
    if isinstance(found, BaseException):
        raise found
    return Batch(*_each(found, np.ndarray, torch.from_numpy))


def _each(value: Any, kind: type, made: Callable[[Any], Any]) -> Any:
    """Give a value with something else in the place of all of a kind, however deep they lie in it."""
    if isinstance(value, kind):
        return made(value)
    if isinstance(value, dict):
        return {key: _each(inner, kind, made) for key, inner in value.items()}
    return type(value)(_each(inner, kind, made) for inner in value) if type(value) in (list, tuple) else value


def _work(what: Batches | bytes, link: Connection, parent: int | None) -> None:
    # What reaches the whole group of processes (Ctrl-C, a closed terminal) is for the main one, which ends its workers.
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & signal.Signals.__members__.keys():
        signal.signal(signal.Signals[name], signal.SIG_IGN)
    for end in list(_Team.ends):
        end.close()
    torch.set_num_threads(1)
    logging.getLogger("moganet").setLevel(logging.ERROR)  # what is to be said is in the batches
    try:
        batches: Batches = pickle.loads(what) if isinstance(what, bytes) else what
        link.send_bytes(b"ready")
        packed: queue.Queue[bytes] = queue.Queue(1)  # the next batch is read while one is on its way
        threading.Thread(target=_send, args=(packed, link), daemon=True).start()
        while _is_asked(link, parent):
            packed.put(_packed(batches.read, pickle.loads(link.recv_bytes())))
    except (EOFError, OSError):  # the main process is gone
        pass
    os._exit(0)  # without the main process's own matters at an end


def _send(packed: "queue.Queue[bytes]", link: Connection) -> None:
    with suppress(OSError):
        while True:
            link.send_bytes(packed.get())
    os._exit(0)  # the main process is gone


def _is_asked(link: Connection, parent: int | None) -> bool:
    while not link.poll(5):  # a forked process beside this one may hold the main one's end open
        if parent is not None and os.getppid() != parent:
            return False
    return True


def _packed(read: Callable[[Sequence[Any]], Batch], places: Sequence[Any]) -> bytes:
    try:
        return pickle.dumps(_each(tuple(read(places)), Tensor, Tensor.numpy), protocol=5)
    except MogaNetError as error:
        return pickle.dumps(error)
    except MemoryError:
        return pickle.dumps(WorkerError(f"a process that reads images has too little memory; {LESS}"))
    except Exception:
        return pickle.dumps(RuntimeError(f"in a process that reads images: {traceback.format_exc()}"))
