"""`moganet embed`: the features of images into a file."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, USING, app
from moganet_cli.options import AsJson, Data, Every, Model, ReadingFast, argument, option, with_options
from moganet_cli.output import Found, complain, line, print_json, untrained

OUT = "A .parquet or .npz file; the same command goes on with it after any end."


@app.command(
    help="Write the features of images, which are searched by `similar`. FILES: as for predict.",
    epilog="moganet embed moganet_nano.cifar10 photos --out photos.npz\nmoganet embed runs/digits-1 digits --out d.npz",
    rich_help_panel=USING,
)
@with_options
def embed(
    model: Model,
    out: Annotated[Path, option(OUT)],
    files: Annotated[
        list[str] | None, argument("[FILES]...", "Images, folders, patterns, '-', or a data source.")
    ] = None,
    data: Data = None,
    split: Annotated[str, option("Of a data source: test, val, train or all.")] = "all",
    overwrite: Annotated[bool, option("--overwrite", "Begin anew where the file is there.")] = False,
    every: Every = None,
    as_json: AsJson = False,
    **passed: Unpack[ReadingFast],
) -> None:
    from moganet.engine.embed import embed as run
    from moganet.progress import show_progress

    result = run(
        model, files or [], data, split, out=out, overwrite=overwrite, every=every, progress=show_progress, **passed
    )
    for item in result.unreadable:
        complain(f"can't read {item.file}: {item.reason}")
    print_json(result) if as_json else _print(result)
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if result.num_images else EXIT_USER)


def _print(result: Found) -> None:
    if result["out"] is None:
        return
    fresh = f"{result['added']:,} new" + (
        f", {result['changed_images']:,} made anew" if result["changed_images"] else ""
    )
    rate = f", {result['images_per_second']:.0f} images/s" if result["images_per_second"] else ""
    what = f"{result['num_images']:,} images of {result['dim']} features{untrained(result)} ({fresh}{rate})"
    line(f"{result['out']}: {what}")
