"""`moganet export`: a model for another runtime."""

from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from moganet_cli.app import FILES, app
from moganet_cli.help import COMPUTED, IMAGES, PRINTED
from moganet_cli.options import SIDE, AsJson, Computing, Data, Model, StemChoices, option, with_options
from moganet_cli.output import line, print_json, print_table

RUNTIMES = (
    "onnx, openvino, program (torch's .pt2), executorch (.pte, for telephones), or repository (a folder for OpenVINO "
    "Model Server and Triton)."
)
PRECISIONS = "f32, bf16, f16, or int8 (calibrated with --data)."
FORM = {"precision": "f32", "raw": False, "calibrated": False, "size": None, "any_size": False}


class Exporting(StemChoices, Computing, total=False):
    """What is passed on as it is."""

    precision: Annotated[Literal["f32", "bf16", "f16", "int8"], option(PRECISIONS, panel=COMPUTED)]
    raw: Annotated[bool, option("--raw", "Take uint8 images (B, H, W, C) of any size, and give probabilities.")]
    calibrated: Annotated[bool, option("--calibrated", "With --raw: scale probabilities by the model's temperature.")]
    size: Annotated[int | None, option("Height and width of the input [default: the model's].", **SIDE)]
    any_size: Annotated[bool, option("--any-size", "Leave height and width open.")]
    overwrite: Annotated[
        bool, option("--overwrite", "Replace files of other models or forms beside the model.", panel=PRINTED)
    ]


@app.command(
    help="Write a model for another runtime; the file is kept only where it gives what the model gives.",
    epilog="moganet export runs/digits-1 --to onnx",
    rich_help_panel=FILES,
)
@with_options
def export(
    model: Model,
    to: Annotated[Literal["onnx", "openvino", "program", "executorch", "repository"] | None, option(RUNTIMES)] = None,
    out: Annotated[
        Path | None,
        option("The file [default: beside the model]; of a repository and with --all a folder.", panel=PRINTED),
    ] = None,
    data: Data = None,
    limit: Annotated[int, option("Images to compare decisions on.", min=1, panel=IMAGES)] = 1000,
    every: Annotated[bool, option("--all", "Every format: size, deviation, accuracy, images/s.")] = False,
    as_json: AsJson = False,
    **passed: Unpack[Exporting],
) -> None:
    from moganet.engine.export import export as run
    from moganet.engine.export import export_all
    from moganet.errors import ConfigError
    from moganet.progress import show_progress

    if every == (to is not None):
        raise ConfigError("say either --to onnx, openvino, program, executorch or repository, or --all")
    given: dict[str, Any] = {"data": data, "limit": limit, "progress": show_progress, **passed}
    if to is not None:
        result = run(model, to, out, **given)
        print_json(result) if as_json else line(*result.lines())
        return
    if any(given.pop(name, usual) != usual for name, usual in FORM.items()):
        raise ConfigError("--all writes its own choice of forms: leave --precision, --raw, --size, --any-size out")
    forms = export_all(model, out, **given)
    if as_json:
        print_json(forms)
        return
    table = forms.table()
    print_table(table.heads, table.rows, table.numbers)
    line(*forms.lines())
