"""`moganet predict`: what images show."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, app
from moganet_cli.options import AsJson, Data, Measuring, Model, Split, with_options
from moganet_cli.output import Found, complain, line, print_json, print_table

NOTES = {"untrained": "(untrained)", "rejected": "(unlike what it was trained on)"}


@app.command(help="Name what images show. FILES: images, folders, patterns, or '-' for a list on stdin.")
@with_options
def predict(
    model: Model,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES]...", help="Images, folders, patterns, or '-'.")
    ] = None,
    data: Data = None,
    split: Split = "test",
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
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
        progress=show_progress,
        **passed,
    )
    for item in result["unreadable"]:
        complain(f"can't read {item['file']}: {item['reason']}")
    print_json(result) if as_json else _print(result)
    raise typer.Exit(0 if not result["unreadable"] else EXIT_PARTLY if result["predictions"] else EXIT_USER)


def _print(result: Found) -> None:
    rows = []
    for item in result["predictions"]:
        named = ", ".join(f"{found['name']} {100 * found['probability']:.1f} %" for found in item["classes"])
        notes = [note for key, note in NOTES.items() if item.get(key)]
        rows.append((item["file"], " ".join([named, *notes])))
    print_table(("file", "prediction"), rows)
    if "grid" in result:
        line(f"grid: {result['grid']}")
