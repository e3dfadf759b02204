"""Help as a person reads it: options in panels, types in words, and names that are never cut, in any width."""

import inspect
import io
import shutil
import sys
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from typer.models import ArgumentInfo, OptionInfo

# The panels, in their order; options of other panels, and without one, come before them.
SHORT, INSTEAD = "Settings by a word of their own [default: the recipe's]", "Instead of a training"
IMAGES, WEIGHTS, COMPUTED, PRINTED = "Images", "Which weights", "How it is computed", "What is written and printed"
LAST = (IMAGES, SHORT, WEIGHTS, COMPUTED, INSTEAD, PRINTED)
HELP = ("-h, --help", "Show this.")
WIDEST, UNKNOWN_WIDTH, NAMES = 110, 100, 30  # columns: of a page, where nothing says, of names beside their text
WORDS = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
Row = tuple[str, str]  # names, and what they mean


@dataclass(frozen=True)
class Parameter:
    """One of a command's parameters, as its function has it. kind: of its value, without a list and None."""

    name: str
    info: OptionInfo | ArgumentInfo
    kind: Any
    default: Any

    @property
    def spellings(self) -> list[str]:
        """What may be typed for it; nothing for an argument."""
        if isinstance(self.info, ArgumentInfo):
            return []
        usual = self.name.replace("_", "-")
        # Within Annotated the first of the names that were given stands where a default would.
        given = [one for one in (self.info.default, *(self.info.param_decls or ())) if isinstance(one, str)]
        return sorted(given, key=len) or ([f"--{usual}", f"--no-{usual}"] if self.kind is bool else [f"--{usual}"])

    @property
    def names(self) -> str:
        """How a person sees it: what is typed, and what it takes."""
        if isinstance(self.info, ArgumentInfo):
            return self.info.metavar or self.name.upper()
        names = ", ".join(self.spellings).replace(", --no-", "/--no-")
        return names if self.kind is bool else f"{names} {self.value}"

    @property
    def value(self) -> str:
        """What kind of a value it takes: its own word, its choices, or a word for its type."""
        if self.info.metavar:
            return self.info.metavar
        return "|".join(map(str, get_args(self.kind))) if get_origin(self.kind) is Literal else WORDS[self.kind]

    @property
    def meaning(self) -> str:
        """Its help, with its bounds, and its default where the help says none."""
        text = self.info.help or ""
        shown = self.default not in (None, False, True, inspect.Parameter.empty) and "[default" not in text
        said = "; ".join(filter(None, (self._bounds(), f"default: {self.default}" if shown else "")))
        if said and text.endswith(("]", "].")):
            return f"{text.removesuffix('.').removesuffix(']')}; {said}]"
        return f"{text} [{said}]" if said else text

    def _bounds(self) -> str:
        low, high = self.info.min, self.info.max
        return "" if low is None else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"


def help_of(command: Any, context: Any) -> str:
    """Give a command's help: usage, what it does, arguments and options in panels, commands, examples."""
    width = min(WIDEST, shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns)
    console = Console(file=io.StringIO(), width=width, force_terminal=sys.stdout.isatty(), markup=False, emoji=False)
    parameters, commands = parameters_of(command), getattr(command, "commands", {})
    arguments = [one.names for one in parameters if isinstance(one.info, ArgumentInfo)]
    usage = " ".join([context.command_path, "[OPTIONS]", *arguments, *["COMMAND ..."][: len(commands)]])
    console.print(Text.assemble("Usage: ", (usage, "bold")), Text(f"\n{command.help}\n"), sep="\n", highlight=False)
    for title, rows in _panels(parameters, commands):
        console.print(_panel(title, rows, width))
    if examples := (command.epilog or "").splitlines():
        console.print(_panel("Examples" if examples[1:] else "Example", [(one, "") for one in examples], width))
    written = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    return str(written)


def parameters_of(command: Any) -> list[Parameter]:
    """Give a command's parameters by its function's signature, without those that typer gives."""
    found = []
    for parameter in inspect.signature(command.callback).parameters.values() if command.callback else ():
        kind, *infos = get_args(parameter.annotation) or (None,)
        if info := next((one for one in infos if isinstance(one, OptionInfo | ArgumentInfo)), None):
            found.append(Parameter(parameter.name, info, _alone(kind), parameter.default))
    return found


def _alone(kind: Any) -> Any:
    """Give a type without a list around it, and without None beside it."""
    if get_origin(kind) in (Union, types.UnionType):
        return _alone(next(one for one in get_args(kind) if one is not type(None)))
    return _alone(get_args(kind)[0]) if get_origin(kind) is list else kind


def _panels(parameters: Sequence[Parameter], commands: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    panels: dict[str, list[Row]] = {}
    for one in parameters:
        kind = "Arguments" if isinstance(one.info, ArgumentInfo) else "Options"
        if not one.info.hidden:
            panels.setdefault(one.info.rich_help_panel or kind, []).append((one.names, one.meaning))
    panels.setdefault(PRINTED if PRINTED in panels else "Options", []).append(HELP)
    for name, command in commands.items():
        panels.setdefault(command.rich_help_panel or "Commands", []).append((name, _first(command.help)))
    return sorted(panels.items(), key=lambda panel: LAST.index(panel[0]) if panel[0] in LAST else -1)


def _first(text: str | None) -> str:
    """Give the first sentence of a help text."""
    return (text or "").partition(". ")[0].removesuffix(".") + "."


def _panel(title: str, rows: Sequence[Row], width: int) -> Panel:
    room = width - 4
    beside = min(NAMES, max(len(names) for names, _ in rows)) + 2 if room >= 2 * NAMES else 4
    lines = [line for names, text in rows for line in _lines(names, text, beside, room)]
    is_plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    shape = box.ASCII if is_plain else box.ROUNDED
    return Panel(Text("\n").join(lines), title=Text(title), title_align="left", box=shape, width=width)


def _lines(names: str, text: str, beside: int, room: int) -> Iterator[Text]:
    """Lay out one row: names, and their text beside or below them."""
    wrapped = textwrap.wrap(text, room - beside) if text else []
    named = Text(names, style="cyan", overflow="fold")
    if wrapped and len(names) + 2 <= beside:
        named.append(" " * (beside - len(names)) + wrapped.pop(0), style="default")
    yield named
    for line in wrapped:
        yield Text(" " * beside + line)
