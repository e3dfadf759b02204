"""`moganet report`: the page that says how good a model is, and where it fails."""

from pathlib import Path
from typing import Annotated, Unpack

from moganet_cli.app import UNDERSTANDING, app
from moganet_cli.help import PRINTED
from moganet_cli.options import AsJson, Data, Measuring, Model, Split, option, with_options
from moganet_cli.output import Found, complain, line, print_json, untrained


@app.command(
    help="Write one HTML file that shows how good a model is and where it fails, readable without a network.",
    epilog="moganet report runs/digits-1",
    rich_help_panel=UNDERSTANDING,
)
@with_options
def report(
    model: Model,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None, option("HTML file [default: a run's report.html, else NAME-report.html here].", panel=PRINTED)
    ] = None,
    explain: Annotated[bool, option("Show where the network looked, beside errors and close calls.")] = True,
    as_json: AsJson = False,
    **passed: Unpack[Measuring],
) -> None:
    from moganet.engine.report import EXPLAIN
    from moganet.engine.report import write_report as run
    from moganet.progress import show_progress

    result = run(model, data, split, out=out, explain=EXPLAIN if explain else None, progress=show_progress, **passed)
    for item in result["unreadable"]:
        complain(f"left out: {item['reason']}")
    for item in result["left_out"]:
        complain(item["reason"])
    print_json(result) if as_json else _print(model, result)


def _print(model: str, result: Found) -> None:
    line(f"{model}{untrained(result)}: {result['headline']}")
    line(f"report: {result['report']} ({result['bytes'] / 1e6:.1f} MB, {result['seconds']:.1f} s)")
