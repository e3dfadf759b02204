"""`moganet info`: the table of variants, one of them, or what a model is; its layers where they are asked for."""

from typing import Annotated, Any, Unpack

from moganet_cli.app import USING, app
from moganet_cli.completion import models
from moganet_cli.options import SIDE, AllChoices, AsJson, argument, option, with_options
from moganet_cli.output import Found, dimensions, line, print_json, print_table

NUMBERS = ("parameters", "MACs")


@app.command(
    help="Show the table of variants, one of them, or what a MODEL is: classes, accuracy, data, size, input.",
    epilog="moganet info\nmoganet info moganet_nano.cifar10",
    rich_help_panel=USING,
)
@with_options
def info(
    name: Annotated[
        str | None, argument("[NAME]", "A variant (moganet_tiny; short: xt t s b l xl) or MODEL.", models)
    ] = None,
    size: Annotated[int | None, option("Height and width of the input [default: the model's, or 224].", **SIDE)] = None,
    layers: Annotated[bool, option("--layers", "List the layers too; JSON always has them.")] = False,
    as_json: AsJson = False,
    **choices: Unpack[AllChoices],
) -> None:
    from moganet.engine.info import info as run

    result = run(name, size, **choices)
    print_json(result) if as_json else _print(result, layers=layers)


def _print(result: Any, *, layers: bool) -> None:
    if "variants" in result:
        _print_variants(result)
        return
    line(*result.lines())
    if "file" in result:
        _print_file(result["file"])
    if layers:
        _print_layers(result)


def _print_layers(result: Found) -> None:
    rows = [
        (row["name"], row["kind"], dimensions(row["output"]), f"{row['parameters']:,}", f"{row['macs']:,}")
        for row in result["layers"]
    ]
    print_table(("layer", "type", "output (C, H, W)", *NUMBERS), rows, NUMBERS)


def _print_variants(result: Found) -> None:
    rows = []
    for row in result["variants"]:
        stages = "  ".join(map(dimensions, row["stages"]))
        ours = " (ours)" if row["ours"] else ""
        rows.append((row["name"] + ours, f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f} G", stages))
    print_table(("variant", *NUMBERS, "stages (C, H, W)"), rows, NUMBERS)
    line(f"for images of {result['size']}x{result['size']} pixels and 1000 classes")


def _print_file(described: Found) -> None:
    tensors = f", {described['tensors']} tensors" if described["tensors"] else ""
    line(f"format: {described['format']}{tensors}")
    line(f"chosen: {described['reason']}")
    if "gate" in described:  # only a MogaNet has one
        function = f"gate {described['gate']}, channel aggregation {described['channel_aggregation']}"
        line(f"function: {function}, stem stride {described['stem_stride']}")
    if described["sha256"]:
        line(f"sha256: {described['sha256']}; fixtures: {described['fixtures']}")
