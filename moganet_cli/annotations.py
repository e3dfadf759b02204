"""`moganet annotations`: a set of boxes in another layout."""

from pathlib import Path
from typing import Annotated, Literal

from moganet_cli.app import FILES, app
from moganet_cli.completion import sources
from moganet_cli.options import AsJson, argument, option
from moganet_cli.output import line, print_json

SOURCE = "coco:DIR, yolo:DIR, voc:DIR, table:FILE, or a path."


@app.command(
    help="Write a set of boxes in another layout: COCO's JSON, YOLO's text files or PASCAL VOC's XML, with its images.",
    epilog="moganet annotations coco:street yolo-street --to yolo",
    rich_help_panel=FILES,
)
def annotations(
    data: Annotated[str, argument("SOURCE", SOURCE, sources)],
    out: Annotated[Path, argument("OUT", "A folder that is new or empty.")],
    to: Annotated[Literal["coco", "yolo", "voc"], option("The layout.")],
    link: Annotated[bool, option("--link", "Link images instead of copying them.")] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.annotations import annotations as run
    from moganet.progress import show_progress

    result = run(data, out, to, link=link, progress=show_progress)
    images = ", ".join(f"{name} {number:,}" for name, number in result["images"].items())
    said = f"{result['out']}: {result['layout']}, images: {images}; {result['objects']:,} objects"
    print_json(result) if as_json else line(said)
