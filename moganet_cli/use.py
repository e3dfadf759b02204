"""`moganet evaluate`, `predict` and `verify`: what a model gives."""

from pathlib import Path
from typing import Annotated

import typer

from moganet_cli.app import (
    EXIT_PARTLY,
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
    complain,
    line,
    percent,
    print_json,
    print_table,
    show_progress,
)

SHORT = 2.0  # seconds, of which starting is a large part
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
        complain(f"left out: {item['reason']}")
    if as_json:
        print_json(result)
        raise typer.Exit(EXIT_PARTLY if "unwritten" in result else 0)
    low, high = (100 * bound for bound in result["interval"])
    untrained = " (untrained)" if result["untrained"] else ""
    line(f"{model}{untrained} on {result['data']}, {result['split']}, {result['num_images']} images")
    line(f"top-1 {100 * result['top1']:.2f} % (95 % interval {low:.2f} to {high:.2f})")
    top5 = f"top-5 {100 * result['top5']:.2f} %, " if len(result["per_class"]) > 5 else ""
    line(f"{top5}loss {result['loss']:.4f}")
    chance = f"(by chance alone {100 * result['ece_by_chance']:.2f} %)"
    short = f" (in {result['seconds']:.1f} s, too short to tell)" if result["seconds"] < SHORT else ""
    rate = f"{result['images_per_second']:.0f} images/s{short}"
    line(f"expected calibration error {100 * result['ece']:.2f} % {chance}, {rate}")
    numbers = ("precision", "recall", "F1", "images")
    rows = [
        (row["name"], *(percent(row[key]) for key in ("precision", "recall", "f1")), str(row["num_images"]))
        for row in result["per_class"]
    ]
    print_table(("class", *numbers), rows, numbers)
    if "unwritten" in result:
        raise typer.Exit(EXIT_PARTLY)
    if "out" in result:
        line(f"written to {result['out']} (evaluation.json, confusion.png)")


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
        complain(f"can't read {item['file']}: {item['reason']}")
    code = 0 if not result["unreadable"] else EXIT_PARTLY if result["predictions"] else EXIT_USER
    if as_json:
        print_json(result)
        raise typer.Exit(code)
    rows = []
    for item in result["predictions"]:
        named = ", ".join(f"{found['name']} {100 * found['probability']:.1f} %" for found in item["classes"])
        notes = [note for key, note in NOTES.items() if item.get(key)]
        rows.append((item["file"], " ".join([named, *notes])))
    print_table(("file", "prediction"), rows)
    if "grid" in result:
        line(f"grid: {result['grid']}")
    raise typer.Exit(code)


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
            line(f"tensors: sha256 {result['sha256']}, as recorded")
        if deviation is None:
            line("fixtures: none recorded")
        else:
            line(f"fixtures: {result['fixtures']}, largest deviation {deviation:.2g} (allowed {result['limit']:.2g})")
    if not result["ok"]:
        complain(f"moganet: {model} does not give the logits that it recorded")
        raise typer.Exit(EXIT_USER)
