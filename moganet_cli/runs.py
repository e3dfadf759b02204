"""`moganet runs`: what was trained below a folder, and what became of it."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from moganet_cli.app import TRAINING, app
from moganet_cli.options import AsJson, argument, option
from moganet_cli.output import line, print_json, print_table

if TYPE_CHECKING:
    from moganet.engine.runs import Runs
    from moganet.training.past import PastRun

FOLDER = "A folder that holds runs, at any depth."
SORT = "A column of the JSON, as best, epochs, seconds, bytes, lr or run; figures and times: the best and newest first."
HEADS = ("run", "state", "network", "data", "epochs", "best", "time", "updated")
SHOWN = 10  # folders without a run that are named


@app.command(
    help="List the runs below a folder: what was trained, how good it became, and which failed or can go on.",
    epilog="moganet runs\nmoganet runs experiments --sort best",
    rich_help_panel=TRAINING,
)
def runs(
    folder: Annotated[Path, argument("[FOLDER]", FOLDER)] = Path("runs"),
    sort: Annotated[str, option("--sort", SORT, metavar="COLUMN")] = "updated",
    reverse: Annotated[bool, option("--reverse", "The other way round.")] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.runs import runs as run
    from moganet.progress import show_progress

    result = run(folder, sort=sort, reverse=reverse, progress=show_progress)
    print_json(result) if as_json else _print(result)


def _print(result: "Runs") -> None:
    if result.runs:
        print_table(HEADS, map(_cells, result.runs), ("epochs", "time"))
    else:
        line(f"{result.folder} holds no run")
    for one in result.runs:
        if one.reason is not None:
            line(f"{one.run} {'is damaged' if one.state == 'damaged' else 'failed'}: {one.reason}")
    named = [f"{one.file} ({one.reason})" for one in result.foreign[:SHOWN]]
    if named:
        more = f", and {len(result.foreign) - SHOWN} more" if len(result.foreign) > SHOWN else ""
        line(f"without a run: {', '.join(named)}{more}")


def _cells(run: "PastRun") -> tuple[str, ...]:
    from moganet.numbers import duration
    from moganet.tasks import TASKS

    best = ""
    if run.best is not None and run.task is not None:
        metric = TASKS[run.task].monitor
        best = f"{metric.short} {metric.text(run.best)}"
    epochs = "" if run.epochs is None else f"{run.epochs}/{run.of_epochs}"
    took = "" if run.seconds is None else duration(run.seconds)
    when = datetime.fromisoformat(run.updated).astimezone().strftime("%Y-%m-%d %H:%M")
    return (run.run, run.state, run.network or "", run.data or "", epochs, best, took, when)
