"""How what is given looks at a prompt and in a notebook: a few lines, and HTML in which names are text."""

import base64
import html
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from moganet.notices import printable

MAX_ROWS, MAX_TEXT, MAX_PICTURE = 50, 200, 2 << 20  # of a table; characters of one value; bytes


class Rows(Protocol):
    """Rows under heads; numbers: the heads of columns that stand to the right."""

    @property
    def heads(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...
    @property
    def numbers(self) -> Sequence[str]: ...


def as_text(title: str, lines: Iterable[str]) -> str:
    """Give a title, and lines under it."""
    return "\n  ".join([f"{title}:", *map(printable, lines)])


def as_html(title: str, lines: Iterable[str], table: Rows | None = None, pictures: Iterable[Path] = ()) -> str:
    """Give a title, lines, a table and pictures as HTML; what lies in them is text, and a picture is in the page."""
    parts = [f"<strong>{_text(title)}</strong>", *(f"<div>{_text(line)}</div>" for line in lines)]
    parts += [] if table is None else [_table(table)]
    return f"<div>{''.join([*parts, *map(_picture, pictures)])}</div>"


def _text(value: object) -> str:
    return html.escape(printable(value))


def _table(table: Rows) -> str:
    sides = ["right" if head in table.numbers else "left" for head in table.heads]
    lines = [_row("th", table.heads, sides), *(_row("td", row, sides) for row in table.rows[:MAX_ROWS])]
    more = len(table.rows) - MAX_ROWS
    return f"<table>{''.join(lines)}</table>" + (f"<div>and {more:,} rows more</div>" if more > 0 else "")


def _row(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    made = (f'<{tag} style="text-align:{s}">{_text(c)}</{tag}>' for c, s in zip(cells, sides, strict=False))
    return f"<tr>{''.join(made)}</tr>"


def _picture(path: Path) -> str:
    with suppress(OSError):
        if path.is_file() and path.stat().st_size <= MAX_PICTURE:
            data = base64.b64encode(path.read_bytes()).decode()
            return f'<img alt="{_text(path.name)}" style="max-width:100%" src="data:image/png;base64,{data}">'
    return ""


def bars(names: Sequence[str], probabilities: Sequence[float]) -> str:
    """Give classes with their probabilities as HTML, each with a bar."""
    left, right = ('<td style="text-align:left">', '<td style="text-align:right">')
    rows = []
    for name, p in zip(names, probabilities, strict=True):
        bar = f'<div style="width:{round(100 * p)}px;height:0.8em;background:#4a7fb5"></div>'
        rows.append(f"<tr>{left}{_text(name)}</td>{right}{100 * p:.1f} %</td>{left}{bar}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
