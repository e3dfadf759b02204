"""`moganet convert`: a model in another format."""

from pathlib import Path
from typing import Annotated, Literal, Unpack

from moganet_cli.app import FILES, app
from moganet_cli.options import AllChoices, AsJson, Model, argument, option, with_options
from moganet_cli.output import line, print_json


@app.command(
    help="Write a MODEL in another format: our file, a hub folder, the official layout, .pdparams, birder's.",
    epilog="moganet convert checkpoint.pth.tar model.safetensors",
    rich_help_panel=FILES,
)
@with_options
def convert(
    model: Model,
    out: Annotated[Path, argument("OUT", "x.safetensors, x.pth.tar, x.pth, x.pdparams, x.birder.pt, or a folder.")],
    to: Annotated[
        Literal["model", "hub", "official", "paddle", "birder", "mmseg", "mmdet", "mmpose"] | None,
        option("The format [default: by OUT's name]."),
    ] = None,
    as_json: AsJson = False,
    **choices: Unpack[AllChoices],
) -> None:
    from moganet.engine.convert import convert as run

    result = run(model, out, to, **choices)
    said = f"{result['out']}: {result['name']}, {result['parameters']:,} parameters, format {result['target']}"
    print_json(result) if as_json else line(said)
