"""`moganet predict`: what images show."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, app
from moganet_cli.options import AsJson, Data, Measuring, Model, Split, with_options
from moganet_cli.output import JsonRows, TableRows, complain, line


@app.command(help="Name what images show. FILES: images, folders, patterns, or '-' for a list on stdin.")
@with_options
def predict(
    model: Model,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES]...", help="Images, folders, patterns, or '-'.")
    ] = None,
    data: Data = None,
    split: Split = "test",
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Classes to name for each image [default: 5, or all that are found].")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Scale the probabilities by the temperature that the model file keeps.")
    ] = False,
    grid: Annotated[Path | None, typer.Option(help="Draw up to 48 images with prediction and truth.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a row for each image and class.")] = None,
    as_json: AsJson = False,
    **passed: Unpack[Measuring],
) -> None:
    from moganet.engine.predict import predict as run
    from moganet.progress import show_progress

    rows: JsonRows | TableRows = JsonRows("predictions") if as_json else TableRows(("file", "prediction"))
    result = run(
        model,
        files or [],
        data,
        split,
        top_k=top_k,
        limit=limit,
        calibrated=calibrated,
        grid=grid,
        csv_file=csv_file,
        each=lambda row: rows.add(row if as_json else (row.file, row.text())),
        progress=show_progress,
        **passed,
    )
    for item in result.unreadable:
        complain(f"can't read {item.file}: {item.reason}")
    rows.end(result)
    if not as_json and result.grid is not None:
        line(f"grid: {result.grid}")
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if rows.number else EXIT_USER)
