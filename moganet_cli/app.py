"""The typer application, and the exit codes of its commands."""

from typing import Annotated

import typer

from moganet_cli.output import line

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


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        line(installed("moganet"))
        raise typer.Exit
