"""The typer application, the options that several commands share, and how a command prints.

All that a command prints goes through here: `line`, `complain`, `print_table`, `print_json` and the progress bar. What
comes from files, folders and models is data: it is neither markup nor steers the terminal.
"""

import errno
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What may be asked for; beyond lies a slip.
MAX_SIDE, MAX_BATCH, MAX_SEED = 4096, 2**20, 2**32 - 1
EXIT_BUG, EXIT_USER, EXIT_PARTLY, EXIT_INTERRUPTED, EXIT_UNHEARD = 1, 2, 3, 130, 141

app = typer.Typer(
    name="moganet",
    help="MogaNet image networks: train, measure and use them. Results go to stdout, progress to stderr. "
    "Exit codes: 0 done, 2 a mistake that the message names, 3 done but for a part, 130 stopped, 1 a bug of ours.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file, a checkpoint, an exported file, a run's or hub folder, or a name (moganet_small.in1k).",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE[:PATH]", help="digits, cifar10, cifar100, folder:PATH, table:FILE, or a path."
    ),
]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The name of a recipe that ships, or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. trainer.max_epochs=10; may be repeated."),
]
Split = Annotated[
    str,
    typer.Option(help="test, val, train or all; where a set has no test, val is taken, and all of an undivided one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Precision = Annotated[Literal["f32", "bf16", "f16"], typer.Option(help="f32, bf16, or f16 (GPU).")]
Runtime = Annotated[
    Literal["auto", "eager", "compile", "onnx", "openvino"],
    typer.Option(help="auto (OpenVINO where it is installed and there is no GPU, else eager), or one by its name."),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, max=MAX_BATCH, help="Images at a time [default: 128 on a GPU, else 32].")
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read images; 0 reads without [default: one a core, up to 16]."),
]
Weights = Annotated[
    Literal["plain", "ema"] | None,
    typer.Option(help="Which of a file's weights [default: those of the published accuracy]."),
]
Gate = Annotated[Literal["single", "double"] | None, typer.Option(help="The gate's function [default: the file's].")]
Aggregation = Annotated[
    Literal["reference", "paddle"] | None,
    typer.Option("--channel-aggregation", help="The channel mixer's function [default: the file's]."),
]
Stride = Annotated[
    int | None, typer.Option("--stem-stride", help="4, 2 or 1; tensors do not show it [default: the file's, or 4].")
]
Classes = Annotated[
    int | None, typer.Option("--num-classes", min=0, help="Another number of classes: the head starts anew.")
]
Channels = Annotated[
    int | None, typer.Option("--in-chans", min=1, help="Another number of input channels: the stem is adapted.")
]


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        line(installed("moganet"))
        raise typer.Exit


class StdoutError(Exception):
    """Stdout takes no more: the disk behind it is full, or it is broken."""


def shown(text: str) -> str:
    """Give a text as a terminal may have it; importing the package takes seconds, which most texts don't need."""
    if text.isprintable():
        return text
    from moganet.notices import printable

    return printable(text)


def line(text: str) -> None:
    """Print one line of results on stdout."""
    _write(shown(text))


def complain(text: str) -> None:
    """Print one line on stderr; a stderr that takes none stops nothing."""
    with suppress(OSError, ValueError):
        print(shown(text), file=sys.stderr, flush=True)


def print_json(result: dict[str, Any]) -> None:
    """Print one object on stdout, valid in every locale."""
    from moganet.files import to_json

    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _write(to_json(result, ascii_only=not encoding.lower().startswith("utf")))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()) -> None:
    """Print rows under their heads on stdout, those called numbers to the right; in a file no name is wrapped."""
    table = Table(box=None)
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in numbers else "left"
        table.add_column(Text(shown(head)), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console = make_console(width=None if sys.stdout.isatty() else 100_000)
    with console.capture() as capture:
        console.print(table)
    _write("\n".join(row.rstrip() for row in capture.get().splitlines()))


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Give rich's console, to which text is text: no markup, no emoji by name, no colours by guess."""
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
            raise
        raise StdoutError(f"can't write to stdout: {error.strerror}; make room, or name another place") from None


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share as percent, "-" where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def show_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Draw a bar on stderr while the items pass, on a terminal only."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, what, total, console=console, transient=True)
