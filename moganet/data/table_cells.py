"""From a table's cells to words: one spelling for what is the same, and nothing where there is nothing."""

import math
import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from moganet.errors import DataError

# What pandas reads as "no value", and what Python and SQL write for it.
MISSING_WORDS = frozenset(
    [
        *(
            "",
            "#n/a",
            "#n/a n/a",
            "#na",
            "-1.#ind",
            "-1.#qnan",
            "-nan",
            "1.#ind",
            "1.#qnan",
            "<na>",
            "n/a",
            "na",
            "null",
        ),
        *("nan", "nat", "none", "nil"),
    ]
)
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")


class Labels(NamedTuple):
    """Labels by row ("" where there is none), and those that are written otherwise than taken: how, and as what."""

    texts: list[str]
    respelled: list[tuple[str, str]]


def as_text(cell: Any) -> str:
    """Give a cell as text without space around it and in composed letters; "" for None and NaN.

    Raises DataError for what is no single value (lists, pictures).
    """
    if cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell)):
        return ""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError:
            raise DataError("holds bytes that are no text in UTF-8") from None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, list | dict | tuple):
        raise DataError(f"holds lists or records, and not one value a row (as {str(cell)[:40]})")
    return unicodedata.normalize("NFC", str(cell).strip().strip(INVISIBLE).strip())


def is_missing(text: str) -> bool:
    """Tell whether a text says that there is no value."""
    return text.casefold() in MISSING_WORDS


def clean_labels(cells: Sequence[Any], names: Sequence[str] = ()) -> Labels:
    """Give the labels of a column's cells. names: what its numbers stand for; another number stands for no label.

    Where all are whole numbers, 1.0 is 1; where all are true or false, their case says nothing.
    """
    if names:
        return Labels([as_text(_name(cell, names) if isinstance(cell, int) else cell) for cell in cells], [])
    texts = [as_text(cell) for cell in cells]
    distinct = {text for text in texts if not is_missing(text)}
    same = {text: text for text in texts}
    if all(_NUMBER.fullmatch(text) for text in distinct):
        same |= {text: _WHOLE.sub(r"\1", text) for text in distinct}
    elif all(text.casefold() in ("true", "false") for text in distinct):
        same |= {text: text.capitalize() for text in distinct}
    written = [cell if isinstance(cell, str) else text for cell, text in zip(cells, texts, strict=True)]
    respelled = [(cell, same[text]) for cell, text in zip(written, texts, strict=True) if cell != same[text]]
    return Labels([same[text] for text in texts], respelled)


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if 0 <= number < len(names) else ""
