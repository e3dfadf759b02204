"""`moganet info`: the table of variants, the layers of one, or what a file of weights is."""

from typing import Annotated, Unpack

from moganet_cli.app import app
from moganet_cli.options import SIDE, AllChoices, AsJson, argument, option, with_options
from moganet_cli.output import Found, dimensions, line, print_json, print_table

NUMBERS = ("parameters", "MACs")


@app.command(help="Show the table of variants, the layers of one, or what a file of weights is.")
@with_options
def info(
    name: Annotated[str | None, argument("[NAME]", "A variant (moganet_tiny; short: xt t s b l xl) or MODEL.")] = None,
    size: Annotated[int | None, option("Height and width of the input [default: the model's, or 224].", **SIDE)] = None,
    as_json: AsJson = False,
    **choices: Unpack[AllChoices],
) -> None:
    from moganet.engine.info import info as run

    result = run(name, size, **choices)
    print_json(result) if as_json else _print(result)


def _print(result: Found) -> None:
    if "variants" in result:
        _print_variants(result)
        return
    layers = [
        (row["name"], row["kind"], dimensions(row["output"]), f"{row['parameters']:,}", f"{row['macs']:,}")
        for row in result["layers"]
    ]
    print_table(("layer", "type", "output (C, H, W)", *NUMBERS), layers, NUMBERS)
    macs = f"{result['macs'] / 1e9:.3f} G multiply-adds at {result['size']}x{result['size']}"
    line(f"{result['name']}: {result['parameters']:,} parameters, {macs}")
    if "file" in result:
        _print_file(result["file"])


def _print_variants(result: Found) -> None:
    rows = []
    for row in result["variants"]:
        stages = "  ".join(map(dimensions, row["stages"]))
        ours = " (ours)" if row["ours"] else ""
        rows.append((row["name"] + ours, f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f} G", stages))
    print_table(("variant", *NUMBERS, "stages (C, H, W)"), rows, NUMBERS)
    line(f"for images of {result['size']}x{result['size']} pixels and 1000 classes")


def _print_file(described: Found) -> None:
    size = dimensions(described["preprocessing"]["size"])
    tensors = f", {described['tensors']} tensors" if described["tensors"] else ""
    line(f"{described['path']}: {described['format']}{tensors}")
    line(f"chosen: {described['reason']}")
    if "gate" in described:  # only a MogaNet has one
        function = f"gate {described['gate']}, channel aggregation {described['channel_aggregation']}"
        line(f"function: {function}, stem stride {described['stem_stride']}")
    line(f"classes: {described['num_classes']}; input: {described['in_chans']} channels, {size} pixels")
    if described["sha256"]:
        line(f"sha256: {described['sha256']}; fixtures: {described['fixtures']}")
