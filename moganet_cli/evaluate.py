"""`moganet evaluate`: how good a model is on a labelled set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, TRAINING, app
from moganet_cli.help import PRINTED
from moganet_cli.options import AsJson, Boxes, Data, Models, ReadingViews, Split, option, with_options
from moganet_cli.output import complain, from_here, line, print_json, print_table, untrained

if TYPE_CHECKING:
    from moganet.tasks.records import Evaluation

SHORT = 2.0  # seconds, of which starting is a large part


class Evaluating(ReadingViews, total=False):
    """What is passed on as it is."""

    boxes: Boxes


@app.command(
    help="Measure a model, or several as one, on a labelled set: accuracy, calibration, classes, images per second.",
    epilog="moganet evaluate runs/digits-1\nmoganet evaluate moganet_nano.cifar10 --data cifar10\n"
    "moganet evaluate runs/a runs/b --tta flip",
    rich_help_panel=TRAINING,
)
@with_options
def evaluate(
    models: Models,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None, option("Folder for evaluation.json and pictures [default: a run's own].", panel=PRINTED)
    ] = None,
    as_json: AsJson = False,
    **passed: Unpack[Evaluating],
) -> None:
    from moganet.engine.evaluate import evaluate as run
    from moganet.progress import show_progress

    result = run(models, data, split, out=out, progress=show_progress, **passed)
    for item in result["unreadable"]:
        complain(f"left out: {item['reason']}")
    print_json(result) if as_json else _print(" + ".join(models), result)
    raise typer.Exit(EXIT_PARTLY if "unwritten" in result else 0)


def _print(model: str, result: "Evaluation") -> None:
    views = "" if result.tta is None else f" (tta {result.tta})"
    line(f"{model}{untrained(result)}{views} on {from_here(result.data)}, {result.split}, {result.num_images} images")
    short = f" (in {result.seconds:.1f} s, too short to tell)" if result.seconds < SHORT else ""
    *figures, last = result.lines()
    line(*figures, f"{last}, {result.images_per_second:.0f} images/s{short}")
    table = result.table()
    print_table(table.heads, table.rows, table.numbers)
    if result.out is not None:
        line(f"written to {result.out} ({', '.join(result.files)})")
