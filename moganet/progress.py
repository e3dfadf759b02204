"""How far a verb has come: what it calls while it works, and the bars that a terminal shows of that, on stderr."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich import progress as rich
from rich.console import Console
from rich.text import Text

# Passes items through while it shows them: (items, their number or the most they count for, what is done).
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]
RATE = "{task.fields[rate]}"  # a column's text, of a bar whose owner knows the rate
SECONDS_A_LINE = 30  # between two lines of progress where there is no terminal
logger = logging.getLogger(__name__)
_quiet = False


def no_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Pass the items through; the command line gives a function that draws a bar."""
    return items


def show_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Draw a bar while the items pass, on a terminal only."""
    return _shown(items, lambda _: 1, rich.TaskProgressColumn(show_speed=True), total=total, description=what)


def show_samples(numbers: Iterable[int], total: int, what: str) -> Iterable[int]:
    """Draw a bar with samples a second while their numbers pass, on a terminal only."""
    rate = _Rate("samples" if what == "lime" else "images")
    return _shown(numbers, int, rich.MofNCompleteColumn(), rate, total=total, description=what)


def show_bytes(chunks: Iterable[bytes], total: int | None, what: str, start: int = 0) -> Iterable[bytes]:
    """Draw a bar with bytes a second while chunks pass, on a terminal only. start: bytes that were there before."""
    columns = rich.DownloadColumn(), rich.TransferSpeedColumn()
    return _shown(chunks, len, *columns, total=total, description=what, completed=start)


def set_quiet(quiet: bool) -> None:
    """Let bars and lines of progress be drawn or not, from now on and in this process."""
    global _quiet
    _quiet = quiet


def stderr_console() -> Console:
    """Give rich's console on stderr, to which text is text; a quiet one is no terminal."""
    is_terminal = False if _quiet else None
    return Console(stderr=True, markup=False, emoji=False, highlight=False, quiet=_quiet, force_terminal=is_terminal)


def make_bar(console: Console, *columns: rich.ProgressColumn | str) -> rich.Progress:
    """Make a bar that says what is done, then what the columns say, then the time left; it leaves nothing behind."""
    what = rich.TextColumn("{task.description}", markup=False)
    return rich.Progress(what, rich.BarColumn(), *columns, rich.TimeRemainingColumn(), console=console, transient=True)


def _shown(
    items: Iterable[Any], count: Callable[[Any], int], *columns: rich.ProgressColumn, **task: Any
) -> Iterable[Any]:
    console = stderr_console()
    bar = make_bar(console, *columns)
    return _drawn(items, count, bar, bar.add_task(**task)) if console.is_terminal else items


def _drawn(items: Iterable[Any], count: Callable[[Any], int], bar: rich.Progress, task: rich.TaskID) -> Iterator[Any]:
    with bar:
        for item in items:
            yield item
            bar.advance(task, count(item))


class _Rate(rich.ProgressColumn):
    """How many of a unit pass in a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: rich.Task) -> Text:
        speed = task.speed or 0.0
        return Text(f"{speed:.{0 if speed >= 10 else 1}f} {self.unit}/s")


@contextmanager
def watched() -> Iterator["Evaluations"]:
    """Show evaluations a second and the time left: a bar on a terminal, a line now and then elsewhere."""
    console = stderr_console()
    bar = make_bar(console, RATE) if console.is_terminal else None
    with bar or nullcontext():
        yield Evaluations(bar)


class Evaluations:
    """How many evaluations there were, shown as they come. bar: None where lines are written instead."""

    def __init__(self, bar: rich.Progress | None) -> None:
        self.done, self.start, self.said = 0, 0.0, 0.0
        self.bar = bar

    def __call__(self, done: int, total: int) -> None:
        """Note the evaluations since the last call, and how many there will be in all."""
        now = time.perf_counter()
        if not self.done:  # the first batch has no start
            self.start = self.said = now
        self.done += done
        rate = self.done / (now - self.start) if now > self.start else 0.0
        if self.bar is not None:
            if not self.bar.task_ids:  # it shows nothing until there is a rate
                self.bar.add_task("interactions", rate="")
            self.bar.update(self.bar.task_ids[0], completed=self.done, total=total, rate=f"{rate:,.0f} evaluations/s")
        elif now - self.said > SECONDS_A_LINE:
            self.said = now
            left = max(0.0, (total - self.done) / rate) if rate else 0.0
            counted = f"{self.done:,} of about {total:,} evaluations, {rate:,.0f} a second"
            logger.info("%s, %.1f minutes left", counted, left / 60)
