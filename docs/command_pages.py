"""The commands' pages of the reference: what all have in common, and of each what it does, examples, and its help."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer
from examples import EXAMPLES, Shown  # beside this file

from moganet_cli.app import app
from moganet_cli.help import help_of

GROUP = typer.main.get_command(app)
# What holds for all commands.
COMMON = r"""
Each has `--help`, `--quiet`, `--verbose` and `--json`: one object on stdout, by one of [these schemas](results.md),
valid in every locale; progress goes to stderr. What was taken for what, and what was passed over, is a line on stderr
and stands in `notes` of the object. Names are shown as they are; what would steer a terminal in them is escaped
(`\n`, `\x1b`, `\udce9` for a byte that isn't UTF-8).

| exit code | what |
|---|---|
| 0 | done |
| 1 | a bug of ours, with a traceback |
| 2 | a mistake, a place or a file that the message names; or a check that failed |
| 3 | done but for a part, which stderr names (unreadable images, files that can't be written, runs that failed) |
| 130, 143 | stopped by Ctrl-C or SIGTERM; a second Ctrl-C ends at once |
| 141 | whoever read stdout has gone (`\| head`) |
"""
MORE = {  # the page that tells more of a command
    **dict.fromkeys(("train", "settings"), "training"),
    **dict.fromkeys(("runs", "compare", "tune"), "runs"),
    **dict.fromkeys(("embed", "similar", "probe"), "features"),
    **dict.fromkeys(("shards make", "shards index", "batch"), "scale"),
    **dict.fromkeys(("convert", "verify", "push", "info"), "weights"),
    **dict.fromkeys(("benchmark infer", "benchmark train"), "speed"),
    "export": "exports",
    "predict": "predicting",
    "serve": "service",
    "explain": "explain",
    "interactions": "interactions",
    "report": "report",
    "average": "together",
    "annotations": "boxes",
    "doctor": "data",
    "benchmark data": "data",
}


def command_pages(printed: Mapping[str, Shown]) -> dict[str, str]:
    """Give the texts of the first page, `commands`, and of one a command. printed: what examples gave."""
    return {"commands": _first()} | {f"commands/{_file(name)}": _page(name, printed) for name in verbs()}


@cache
def verbs() -> dict[str, Any]:
    """Give each command, of a group too, by its words."""
    found = {name: one for name, one in GROUP.commands.items() if not hasattr(one, "commands")}
    for outer, one in GROUP.commands.items():
        found |= {f"{outer} {name}": inner for name, inner in getattr(one, "commands", {}).items()}
    return found


def _file(name: str) -> str:
    return name.replace(" ", "-")


def _first() -> str:
    """Give the first page: what all commands have in common, and a link to each."""
    panels: dict[str, list[str]] = {}
    for name, one in verbs().items():
        outer = GROUP.commands[name.split()[0]]
        first = (one.help or "").partition(". ")[0].removesuffix(".")
        row = f"| [{name}](commands/{_file(name)}.md) | {first} |"
        panels.setdefault(outer.rich_help_panel, []).append(row)
    lines = ["# Commands", COMMON]
    for panel, rows in panels.items():
        lines += [f"## {panel}", "", "| command | |", "|---|---|", *rows, ""]
    pages = [f"commands/{_file(name)}" for name in verbs()]
    return "\n".join([*lines, "```{toctree}", ":hidden:", *pages, "```"]) + "\n"


def _page(name: str, printed: Mapping[str, Shown]) -> str:
    """Give a command's page: what it does, examples with what they printed, and its help at 100 columns."""
    command = verbs()[name]
    with typer.Context(command, info_name=f"moganet {name}") as context:
        told = help_of(command, context)
    lines = [f"# moganet {name}", "", command.help, ""]
    if more := MORE.get(name):
        lines += [f"More: [{more}](../../../{more}.md).", ""]
    for example in EXAMPLES[name]:
        lines += ["```sh", example.command, "```", ""]
        if example.why_not is not None:
            lines += [f"Not run by the build: {example.why_not}.", ""]
        elif (one := printed.get(example.command)) is not None:
            lines += ["```text", one.text, "```", ""]
            if one.picture is not None:
                lines += [f"![What it draws]({Path(one.picture).name})", ""]
    return "\n".join([*lines, "## All options", "", "```text", told.strip("\n"), "```", ""])
