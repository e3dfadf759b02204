"""`moganet batch`: what any number of images show, into a folder of Parquet files."""

from typing import Annotated, Literal, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, USING, app
from moganet_cli.completion import models as words
from moganet_cli.help import COMPUTED, IMAGES, PRINTED
from moganet_cli.options import (
    AT_ONCE,
    BATCH,
    MODEL,
    AsJson,
    Asking,
    Boxes,
    Calibrated,
    FastDecoding,
    TopK,
    argument,
    option,
    with_options,
)
from moganet_cli.output import complain, line, print_json

WHAT = (
    "Images, folders, patterns, archives, videos, lists (.txt, .csv), Parquet, URLs, or shards:URL and other sources."
)
OUT = "A new folder; or one in which the same was begun, which goes on."
ENGINE = "local: this process; ray: workers of Ray Data, here or on a cluster (pip install 'moganet[scale]')."
ADDRESS = "With --engine ray, a cluster: HOST:PORT, ray://HOST:PORT or auto [default: Ray for this call alone]."
PROCESSES = "Processes that read images; with --engine ray, that predict, with --threads each [default: one a core]."
SHARD = "Do the I-th of N parts, as one of N jobs that share --out, say 1/4 to 4/4."


class OfBatch(Asking, total=False):
    """What is passed on as it is."""

    address: Annotated[str | None, option("--address", ADDRESS, metavar="HOST:PORT", panel=COMPUTED)]
    batch_size: Annotated[int | None, option("--batch-size", "--model-batch", AT_ONCE, panel=COMPUTED, **BATCH)]
    workers: Annotated[int | None, option(PROCESSES, min=0, panel=COMPUTED)]
    fast_decoding: FastDecoding
    boxes: Boxes
    top_k: TopK
    calibrated: Calibrated
    shard: Annotated[str | None, option("--shard", SHARD, metavar="I/N", panel=IMAGES)]


@app.command(
    help="Predict any number of images into a folder of Parquet files, a row an image. Begun again it goes on.",
    epilog="moganet batch moganet_nano.cifar10 photos --out answers\n"
    "moganet batch runs/a shards:http://host/photos --out answers --shard 1/4\n"
    "moganet batch runs/a photos --out answers --engine ray --address head:6379",
    rich_help_panel=USING,
)
@with_options
def batch(
    model: Annotated[str, argument("MODEL", MODEL, words)],
    files: Annotated[list[str], argument("INPUT...", WHAT)],
    out: Annotated[str, option("--out", OUT, metavar="FOLDER", panel=PRINTED)],
    engine: Annotated[Literal["local", "ray"], option(ENGINE, panel=COMPUTED)] = "local",
    as_json: AsJson = False,
    **passed: Unpack[OfBatch],
) -> None:
    from moganet.batch.run import batch as run
    from moganet.progress import show_progress

    result = run(model, files, out, engine=engine, progress=show_progress, **passed)
    print_json(result) if as_json else line(*result.lines())
    for one in result.first_unreadable:
        complain(f"can't read {one.file}: {one.reason}")
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if result.unreadable < result.done else EXIT_USER)
