"""`moganet report`: the page that says how good a model is, and where it fails."""

from pathlib import Path
from typing import Annotated

import typer

from moganet_cli.app import (
    AsJson,
    BatchSize,
    Data,
    Model,
    Precision,
    Runtime,
    Split,
    Workers,
    app,
    complain,
    line,
    print_json,
    show_progress,
)


@app.command(help="Write one HTML file that shows how good a model is and where it fails, readable without a network.")
def report(
    model: Model,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file [default: report.html in a run's folder, else NAME-report.html here]."),
    ] = None,
    explain: Annotated[bool, typer.Option(help="Show where the network looked, beside errors and close calls.")] = True,
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.report import EXPLAIN
    from moganet.engine.report import write_report as run
    from moganet.tasks.classify.report import headline

    result = run(
        model,
        data,
        split,
        out=out,
        batch_size=batch_size,
        workers=workers,
        runtime=runtime,
        precision=precision,
        explain=EXPLAIN if explain else None,
        progress=show_progress,
    )
    for item in result["unreadable"]:
        complain(f"left out: {item['reason']}")
    for item in result["left_out"]:
        complain(item["reason"])
    if as_json:
        print_json(result)
        return
    untrained = " (untrained)" if result["untrained"] else ""
    line(f"{model}{untrained}: {headline(result)}")
    line(f"report: {result['report']} ({result['bytes'] / 1e6:.1f} MB, {result['seconds']:.1f} s)")
