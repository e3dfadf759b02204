"""`moganet evaluate`, `predict` and `verify`: what a model gives."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from moganet_cli.app import (
    EXIT_USER,
    AsJson,
    BatchSize,
    Data,
    Model,
    Precision,
    Runtime,
    Split,
    Workers,
    app,
    print_json,
    show_progress,
)

NOTES = {"untrained": "(untrained)", "rejected": "(unlike what it was trained on)"}


@app.command(help="Measure a model on a labelled set: accuracy, calibration, classes, and images per second.")
def evaluate(
    model: Model,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json and confusion.png [default for a run: in its folder]."),
    ] = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.evaluate import evaluate as run

    result = run(
        model,
        data,
        split,
        out=out,
        batch_size=batch_size,
        workers=workers,
        runtime=runtime,
        precision=precision,
        progress=show_progress,
    )
    for item in result["unreadable"]:
        print(f"left out: {item['reason']}", file=sys.stderr)
    code = EXIT_USER if "not_written" in result else 0
    if as_json:
        print_json(result)
        raise typer.Exit(code)
    low, high = (100 * bound for bound in result["interval"])
    untrained = " (untrained)" if result["untrained"] else ""
    print(f"{model}{untrained} on {result['data']}, {result['split']}, {result['num_images']} images")
    print(f"top-1 {100 * result['top1']:.2f} % (95 % interval {low:.2f} to {high:.2f})")
    print(f"top-5 {100 * result['top5']:.2f} %, loss {result['loss']:.4f}")
    print(f"expected calibration error {100 * result['ece']:.2f} %, {result['images_per_second']:.0f} images/s")
    table = Table(
        "class", *(Column(name, justify="right") for name in ("precision", "recall", "F1", "images")), box=None
    )
    for row in result["per_class"]:
        table.add_row(
            row["name"], *(f"{100 * row[key]:.1f} %" for key in ("precision", "recall", "f1")), str(row["num_images"])
        )
    Console().print(table)
    if "out" in result:
        print(f"written to {result['out']} (evaluation.json, confusion.png)")
    raise typer.Exit(code)


@app.command(help="Name what images show. FILES: images, folders, patterns, or '-' for a list on stdin.")
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
    batch_size: BatchSize = None,
    workers: Workers = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.predict import predict as run

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
        batch_size=batch_size,
        workers=workers,
        runtime=runtime,
        precision=precision,
        progress=show_progress,
    )
    for item in result["unreadable"]:
        print(f"can't read {item['file']}: {item['reason']}", file=sys.stderr)
    nothing = EXIT_USER if result["unreadable"] and not result["predictions"] else 0
    if as_json:
        print_json(result)
        raise typer.Exit(nothing)
    table = Table("file", "prediction", box=None)
    for item in result["predictions"]:
        named = ", ".join(f"{found['name']} {100 * found['probability']:.1f} %" for found in item["classes"])
        notes = [note for key, note in NOTES.items() if item.get(key)]
        table.add_row(escape(item["file"]), " ".join([escape(named), *notes]))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    if "grid" in result:
        print(f"grid: {result['grid']}")
    raise typer.Exit(nothing)


@app.command(help="Check a model file: the hash of its tensors, and the answers that it recorded.")
def verify(
    model: Model,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest deviation, relative to the largest recorded logit [default: 1e-4]."),
    ] = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.verify import verify as run

    result = run(model, runtime, precision, tolerance)
    if as_json:
        print_json(result)
    else:
        deviation = result["max_deviation"]
        if result["sha256"]:
            print(f"tensors: sha256 {result['sha256']}, as recorded")
        if deviation is None:
            print("fixtures: none recorded")
        else:
            print(f"fixtures: {result['fixtures']}, largest deviation {deviation:.2g} (allowed {result['limit']:.2g})")
    if not result["ok"]:
        print(f"moganet: {model} does not give the logits that it recorded", file=sys.stderr)
        raise typer.Exit(EXIT_USER)
