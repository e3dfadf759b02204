"""The house's docstrings as reStructuredText: `name: meaning` becomes a field, what is raised or given a paragraph."""

import inspect
import re
from contextlib import suppress
from typing import Any

ENTRY = re.compile(r"(?:^|(?<=[.\])] )|(?<=\n))((?:[a-z]\w*)(?:, [a-z]\w*)*): ")
AFTER = re.compile(r"(?:^|(?<=[.\])] ))(?=(?:Raises|Gives|Yields|The folder) )")
SPECIAL = re.compile(r"([*|\\]|(?<=\w)_(?=\W|$))")


def as_rst(lines: list[str], names: set[str]) -> list[str]:
    """Give a docstring's lines as reStructuredText. names: of the parameters that it may tell of."""
    head, _, rest = "\n".join(lines).strip().partition("\n\n")
    out = [_escaped(" ".join(head.split())), ""]
    for paragraph in rest.split("\n\n"):
        out += _paragraph(" ".join(paragraph.split()), names)
    return out


def _paragraph(text: str, names: set[str]) -> list[str]:
    """Give a paragraph: what stands before the first entry, a field for each, and what follows the last."""
    starts = [one for one in ENTRY.finditer(text) if set(one[1].split(", ")) <= names]
    ends = [*(one.start() for one in starts[1:]), len(text)]
    lead, after = text[: starts[0].start()] if starts else text, ""
    fields = []
    for one, end in zip(starts, ends, strict=False):
        told = text[one.end() : end].strip()
        if cut := AFTER.search(told):
            told, after = told[: cut.start()].strip(), f"{after} {told[cut.start() :]}".strip()
        fields.append(f":param {one[1]}: {_escaped(told)}")
    return [
        *([_escaped(lead.strip()), ""] if lead.strip() else []),
        *fields,
        "",
        *([_escaped(after), ""] if after else []),
    ]


def _escaped(text: str) -> str:
    """Escape what reStructuredText takes for markup, but not within backticks."""
    parts = text.split("`")
    return "`".join(part if place % 2 else SPECIAL.sub(r"\\\1", part) for place, part in enumerate(parts))


def process(_app: Any, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place, as sphinx.ext.autodoc asks for it."""
    names: set[str] = set()
    if what in ("function", "method", "class"):
        with suppress(TypeError, ValueError):  # of what is written in C
            names |= set(inspect.signature(thing).parameters)
    names |= set(getattr(thing, "__annotations__", {}) or {})
    lines[:] = as_rst(lines, names)
