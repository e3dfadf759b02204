"""`moganet verify`: whether a model file is what it was."""

from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_USER, FILES, app
from moganet_cli.options import AsJson, Computing, FunctionChoices, Model, Precision, Runtime, option, with_options
from moganet_cli.output import Found, complain, line, print_json


class Verifying(FunctionChoices, Computing, total=False):
    """What is passed on as it is."""


@app.command(
    help="Check a model file: the hash of its tensors, and the answers that it recorded.",
    epilog="moganet verify runs/digits-1",
    rich_help_panel=FILES,
)
@with_options
def verify(
    model: Model,
    tolerance: Annotated[
        float | None, option("Largest deviation, relative to the largest recorded logit [default: 1e-4].", min=0)
    ] = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
    **choices: Unpack[Verifying],
) -> None:
    from moganet.engine.verify import verify as run

    result = run(model, runtime, precision, tolerance, **choices)
    print_json(result) if as_json else _print(result)
    if not result["ok"]:
        complain(f"moganet: {model} does not give the logits that it recorded")
        raise typer.Exit(EXIT_USER)


def _print(result: Found) -> None:
    deviation = result["max_deviation"]
    if result["sha256"]:
        line(f"tensors: sha256 {result['sha256']}, as recorded")
    if deviation is None:
        line("fixtures: none recorded")
    else:
        line(f"fixtures: {result['fixtures']}, largest deviation {deviation:.2g} (allowed {result['limit']:.2g})")
