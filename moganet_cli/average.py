"""`moganet average`: the mean of several models' weights as one model."""

from pathlib import Path
from typing import Annotated, Any

from moganet_cli.app import FILES, app
from moganet_cli.completion import models as known
from moganet_cli.completion import sources
from moganet_cli.help import COMPUTED, IMAGES, PRINTED
from moganet_cli.options import WORKERS, AsJson, Device, Threads, argument, option
from moganet_cli.output import line, print_json, print_table

HELP = "Average the weights of runs that began from the same weights; kept only where that is not worse than the worst."
ON = "Labelled images to measure on [default: the validation images of the runs]."


@app.command(
    help=HELP,
    epilog="moganet average runs/a runs/b --out average.safetensors",
    rich_help_panel=FILES,
)
def average(
    models: Annotated[
        list[str], argument("RUN...", "Runs' folders (their best weights) or model files, two or more.", known)
    ],
    out: Annotated[Path, option("--out", "The model file to write.", metavar="FILE", panel=PRINTED)] = Path(
        "average.safetensors"
    ),
    data: Annotated[str | None, option("--data", ON, metavar="SOURCE[:PATH]", panel=IMAGES, words=sources)] = None,
    overwrite: Annotated[bool, option("--overwrite", "Replace the file that is there.", panel=PRINTED)] = False,
    workers: Annotated[int | None, option(WORKERS, min=0, panel=COMPUTED)] = None,
    device: Device = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.average import average as run
    from moganet.progress import show_progress

    computed: Any = {"workers": workers, "device": device, "threads": threads}
    result = run(models, out, data, overwrite=overwrite, progress=show_progress, **computed)
    if as_json:
        print_json(result)
        return
    table = result.table()
    print_table(table.heads, table.rows, table.numbers)
    line(*result.lines())
