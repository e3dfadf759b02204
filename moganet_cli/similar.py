"""`moganet similar`: which images are most like others."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, USING, app
from moganet_cli.options import AsJson, Measuring, Model, argument, option, with_options
from moganet_cli.output import complain, line, print_json, print_table

AMONG = "A file that `embed` wrote, or images, a folder, a pattern, a data source; may be repeated."


@app.command(
    help="Find the images most like others, by the cosine of their features. QUERY: images, folders, patterns.",
    epilog="moganet similar moganet_nano.cifar10 rose.jpg --among photos.npz --out alike.png",
    rich_help_panel=USING,
)
@with_options
def similar(
    model: Model,
    queries: Annotated[list[str], argument("QUERY", "Images, folders, patterns, or '-'.")],
    among: Annotated[list[str], option(AMONG)],
    split: Annotated[str, option("Of a data source: test, val, train or all.")] = "all",
    top_k: Annotated[int, option("Images to find for each.", min=1, max=1000)] = 5,
    out: Annotated[Path | None, option("Draw a contact sheet of up to 24 queries, say alike.png.")] = None,
    as_json: AsJson = False,
    **passed: Unpack[Measuring],
) -> None:
    from moganet.engine.similar import similar as run
    from moganet.progress import show_progress

    result = run(model, queries, among, split=split, top_k=top_k, out=out, progress=show_progress, **passed)
    for item in result.unreadable:
        complain(f"can't read {item.file}: {item.reason}")
    if as_json:
        print_json(result)
    else:
        rows = [
            (asked.file, f"{alike.similarity:.4f}", alike.file, alike.label or "", alike.remark())
            for asked in result.queries
            for alike in asked.found
        ]
        print_table(("query", "cosine", "image", "label", "remark"), rows, ("cosine",))
        line(*([f"contact sheet: {result.out}"] if result.out is not None else []))
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if result.queries else EXIT_USER)
