"""The typer application, the options that several commands share, and how a command prints."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="moganet",
    help="MogaNet image networks: train, measure and use them. Results go to stdout, progress to stderr.",
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
Split = Annotated[str, typer.Option(help="test, val, train or all; where a set has no test, val is taken.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Precision = Annotated[Literal["f32", "bf16", "f16"], typer.Option(help="f32, bf16, or f16 (GPU).")]
Runtime = Annotated[
    Literal["auto", "eager", "compile", "onnx", "openvino"],
    typer.Option(help="auto (OpenVINO where it is installed and there is no GPU, else eager), or one by its name."),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images at a time [default: 128 on a GPU, else 32].")]
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

        print(installed("moganet"))
        raise typer.Exit


def print_json(result: dict[str, Any]) -> None:
    """Print one object on stdout."""
    from moganet.files import to_json

    print(to_json(result))


def show_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Draw a bar on stderr while the items pass, on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, what, total, console=console, transient=True)
