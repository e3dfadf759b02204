"""How a command prints, by these functions only: names are data, neither markup nor steering the terminal."""

import errno
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from moganet.results import Record


class Found(Protocol):
    """What a verb gives, or a part of it, as far as printing asks it: by the keys of its JSON."""

    def __getitem__(self, key: str, /) -> Any: ...
    def __contains__(self, key: object, /) -> bool: ...
    def get(self, key: str, default: Any = None, /) -> Any: ...


HELD = 1000  # rows, before those that came are printed


class StdoutError(Exception):
    """Stdout takes no more: the disk behind it is full, or it is broken."""


def shown(text: str) -> str:
    """Give a text as a terminal may have it; importing the package takes seconds, which most texts don't need."""
    if text.isprintable():
        return text
    from moganet.notices import printable

    return printable(text)


def from_here(text: str) -> str:
    """Give a text with the places of data sets as seen from the current folder: `folder:photos`, not its whole path."""
    with suppress(OSError):  # the folder may be gone
        return text.replace(f":{Path.cwd()}{os.sep}", ":")
    return text


def line(*texts: str) -> None:
    """Print lines of results on stdout."""
    for text in texts:
        _write(shown(text))


def complain(text: str) -> None:
    """Print one line on stderr; a stderr that takes none stops nothing."""
    with suppress(OSError, ValueError):
        print(shown(text), file=sys.stderr, flush=True)


def print_json(result: Found) -> None:
    """Print one object on stdout, valid in every locale."""
    _write(_json(result))


def _json(value: Any) -> str:
    from moganet.files import to_json

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return to_json(value, ascii_only=not encoding.lower().startswith("utf"))


class Rows:
    """Answers that are printed as they come, so that few are held: a table, or the list under `key` of one object."""

    def __init__(self, key: str, heads: Sequence[str], *, as_json: bool) -> None:
        self.key, self.heads, self.as_json = key, heads, as_json
        self.number, self.held, self.begun = 0, list[Any](), False

    def add(self, row: Any) -> None:
        self.number += 1
        self.held.append(row if self.as_json else (row.file, row.text()))
        if len(self.held) >= HELD:
            self._write()

    def end(self, result: "Record") -> None:
        """Print what is left of the rows, and as JSON what else the result has."""
        if self.held or not self.begun:
            self._write()
        if self.as_json:
            rest = {key: value for key, value in result.plain().items() if key != self.key}
            _write(f"], {_json(rest)[1:]}")

    def _write(self) -> None:
        if self.as_json:
            begin = ", " if self.begun else f'{{"{self.key}": ['
            _write(begin + ", ".join(map(_json, self.held)), end="")
        else:
            print_table(self.heads, self.held, show_heads=not self.begun)
        self.begun, self.held = True, []


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = (), *, show_heads: bool = True
) -> None:
    """Print rows under their heads on stdout, those called numbers to the right; in a file no name is wrapped."""
    table = Table(box=None, show_header=show_heads)
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in numbers else "left"
        table.add_column(Text(shown(head)), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    # To this console text is text: no markup, no emoji by name, no colours by guess.
    width = None if sys.stdout.isatty() else 100_000
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    _write("\n".join(row.rstrip() for row in capture.get().splitlines()))


def _write(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
            raise
        raise StdoutError(f"can't write to stdout: {error.strerror}; make room, or name another place") from None


def dimensions(lengths: Iterable[int]) -> str:
    return "x".join(map(str, lengths))


def untrained(result: Found) -> str:
    return " (untrained)" if result.get("untrained") else ""
