"""`moganet shards`: data sets as tars, for disks and networks to which many small files are slow."""

from typing import Annotated

import typer

from moganet_cli.app import EXIT_PARTLY, FILES, Application, Group, app
from moganet_cli.completion import sources
from moganet_cli.options import DATA, AsJson, argument, option
from moganet_cli.output import Found, complain, line, print_json

shards = Application(
    name="shards",
    cls=Group,
    help="Write a data set as shards (tars that webdataset reads), or index shards that are there.",
    epilog="moganet shards make folder:photos shards\nmoganet train cifar10 --data shards:shards",
    no_args_is_help=True,
)
app.add_typer(shards, rich_help_panel=FILES)
OUT = "A new folder; or one in which the same was begun, which goes on."
SIZE = "Of a shard at most: bytes, or a number with MB, GB, MiB or GiB."
LABEL = "What tells the class: cls, json.FIELD, txt or another ending [default: what is found, and said]."


@shards.command(
    help="Write a data set as shards, with an index by which training finds any image at once.",
    epilog="moganet shards make folder:photos shards\nmoganet shards make cifar10 cifar-shards --size 50MB",
)
def make(
    source: Annotated[str, argument("SOURCE", DATA, sources)],
    out: Annotated[str, argument("OUT", OUT)],
    size: Annotated[str, option("--size", SIZE, metavar="SIZE")] = "500MB",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.shards import make_shards
    from moganet.progress import show_progress

    result = make_shards(source, out, size, progress=show_progress)
    print_json(result) if as_json else line(*result.lines())
    _end(result)


@shards.command(
    help="Write index.json beside shards that webdataset, img2dataset or tar made; all of them are read once.",
    epilog="moganet shards index downloaded --label json.species",
)
def index(
    folder: Annotated[str, argument("FOLDER", "A folder with shards (.tar).")],
    label: Annotated[str | None, option("--label", LABEL, metavar="WHAT")] = None,
    image: Annotated[str | None, option("--image", "The images' ending, where samples have several.")] = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.shards import index_shards

    result = index_shards(folder, label=label, image=image)
    print_json(result) if as_json else line(*result.lines())


def _end(result: Found) -> None:
    for one in result["unreadable"]:
        complain(f"can't read {one.file}: {one.reason}")
    if result["unreadable"]:
        raise typer.Exit(EXIT_PARTLY)
