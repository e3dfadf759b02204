"""`moganet evaluate`: how good a model is on a labelled set."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, app
from moganet_cli.options import AsJson, Data, Measuring, Model, Split, with_options
from moganet_cli.output import Found, complain, line, percent, print_json, print_table, untrained

SHORT = 2.0  # seconds, of which starting is a large part


@app.command(help="Measure a model on a labelled set: accuracy, calibration, classes, and images per second.")
@with_options
def evaluate(
    model: Model,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json and confusion.png [default for a run: in its folder]."),
    ] = None,
    as_json: AsJson = False,
    **passed: Unpack[Measuring],
) -> None:
    from moganet.engine.evaluate import evaluate as run
    from moganet.progress import show_progress

    result = run(model, data, split, out=out, progress=show_progress, **passed)
    for item in result["unreadable"]:
        complain(f"left out: {item['reason']}")
    print_json(result) if as_json else _print(model, result)
    raise typer.Exit(EXIT_PARTLY if "unwritten" in result else 0)


def _print(model: str, result: Found) -> None:
    low, high = (100 * bound for bound in result["interval"])
    line(f"{model}{untrained(result)} on {result['data']}, {result['split']}, {result['num_images']} images")
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
    if "out" in result:
        line(f"written to {result['out']} (evaluation.json, confusion.png)")
