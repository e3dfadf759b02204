"""`moganet export`: a model for another runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from moganet_cli.app import app
from moganet_cli.options import MAX_SIDE, AsJson, Data, Model, StemChoices, option, with_options
from moganet_cli.output import line, print_json, print_table

if TYPE_CHECKING:
    from moganet.engine.export import Exports


@app.command(help="Write a model for another runtime; the file is kept only where it gives what the model gives.")
@with_options
def export(
    model: Model,
    to: Annotated[
        Literal["onnx", "openvino", "program"] | None, option("onnx, openvino, or program (torch's .pt2).")
    ] = None,
    out: Annotated[Path | None, option("The file [default: beside the model]; with --all a folder.")] = None,
    precision: Annotated[
        Literal["f32", "bf16", "f16", "int8"], option("f32, bf16, f16, or int8 (calibrated with --data).")
    ] = "f32",
    raw: Annotated[
        bool, option("--raw", "Take uint8 images (B, H, W, C) of any size, and give probabilities.")
    ] = False,
    calibrated: Annotated[
        bool, option("--calibrated", "With --raw: scale the probabilities by the model's temperature.")
    ] = False,
    size: Annotated[
        int | None, option("Height and width of the input [default: the model's].", min=1, max=MAX_SIDE)
    ] = None,
    any_size: Annotated[bool, option("--any-size", "Leave height and width open.")] = False,
    data: Data = None,
    limit: Annotated[int, option("Images to compare decisions on.", min=1)] = 1000,
    overwrite: Annotated[
        bool, option("--overwrite", "Replace files of other models or forms beside the model.")
    ] = False,
    every: Annotated[bool, option("--all", "Every format: size, deviation, accuracy, images/s.")] = False,
    as_json: AsJson = False,
    **choices: Unpack[StemChoices],
) -> None:
    from moganet.engine.export import export as run
    from moganet.engine.export import export_all
    from moganet.errors import ConfigError
    from moganet.progress import show_progress

    if every == (to is not None):
        raise ConfigError("say either --to onnx, openvino or program, or --all")
    common: dict[str, Any] = {"data": data, "limit": limit, "overwrite": overwrite, "progress": show_progress}
    if to is None:
        if raw or calibrated or any_size or size is not None or precision != "f32":
            raise ConfigError("--all writes its own choice of forms: leave --precision, --raw, --size, --any-size out")
        every_form = export_all(model, out, **common, **choices)
        print_json(every_form) if as_json else _print_all(every_form)
        return
    form: dict[str, Any] = {"precision": precision, "raw": raw, "calibrated": calibrated, "size": size}
    result = run(model, to, out, **form, any_size=any_size, **common, **choices)
    print_json(result) if as_json else line(*result.lines())


def _print_all(result: "Exports") -> None:
    table = result.table()
    print_table(table.heads, table.rows, table.numbers)
    line(*result.lines())
