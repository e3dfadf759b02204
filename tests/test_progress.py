"""Progress: items pass through, and a terminal, and it alone, shows how far they are."""

import io
import re

import pytest
from rich.console import Console

from moganet import progress


@pytest.fixture
def terminal(monkeypatch):
    """Let stderr be a terminal, and give what it gets."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(progress, "stderr_console", lambda: console)
    return screen


BARS = [
    (lambda: progress.show_progress("abc", 3, "examine [x]"), list("abc"), ("examine [x]", "100%")),
    (lambda: progress.show_samples([20, 30], 50, "lime"), [20, 30], ("lime", "50/50", "samples/s")),
    (lambda: progress.show_samples([1], 1, "explain"), [1], ("explain", "1/1", "images/s")),
    (lambda: progress.show_bytes([b"ab"], 4, "download", 2), [b"ab"], ("download", "4/4 bytes")),
]


@pytest.mark.parametrize(("show", "items", "said"), BARS)
def test_a_terminal_shows_how_far_it_is(show, items, said, terminal):
    assert list(show()) == items
    assert all(text in terminal.getvalue() for text in said)


@pytest.mark.parametrize(("show", "items", "said"), BARS)
def test_nothing_else_gets_a_bar(show, items, said, capsys):
    assert list(show()) == items and capsys.readouterr() == ("", "")


def test_evaluations_are_a_bar_on_a_terminal_and_a_line_now_and_then_elsewhere(terminal, monkeypatch, caplog):
    with progress.watched() as watch:
        watch(10, 20)
        watch(10, 20)
    assert "interactions" in terminal.getvalue() and "evaluations/s" in terminal.getvalue()
    monkeypatch.setattr(progress, "stderr_console", lambda: Console(file=io.StringIO()))
    monkeypatch.setattr(progress, "SECONDS_A_LINE", -1)
    caplog.set_level("INFO", "moganet")
    with progress.watched() as watch:
        watch(1000, 4000)
    (line,) = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"1,000 of about 4,000 evaluations, \d[\d,]* a second, \d+\.\d minutes left", line)
