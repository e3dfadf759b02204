"""`moganet info`, `convert`, `push` and `export`: what a file of weights is, and in which other forms it may be."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from moganet_cli.app import (
    MAX_SIDE,
    Aggregation,
    AsJson,
    Channels,
    Classes,
    Data,
    Gate,
    Model,
    Stride,
    Weights,
    app,
    line,
    print_json,
    print_table,
    show_progress,
)


@app.command(help="Show the table of variants, the layers of one, or what a file of weights is.")
def info(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A variant (moganet_tiny, or short: xt t s b l xl) or any MODEL."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SIDE, help="Height and width of the input [default: the model's, or 224]."),
    ] = None,
    weights: Weights = None,
    gate: Gate = None,
    channel_aggregation: Aggregation = None,
    stem_stride: Stride = None,
    num_classes: Classes = None,
    in_chans: Channels = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.info import info as run

    result = run(
        name,
        size,
        weights=weights,
        gate=gate,
        channel_aggregation=channel_aggregation,
        stem_stride=stem_stride,
        num_classes=num_classes,
        in_chans=in_chans,
    )
    if as_json:
        print_json(result)
        return
    numbers = ("parameters", "MACs")
    if name is None:
        rows = []
        for row in result["variants"]:
            stages = "  ".join("x".join(map(str, shape)) for shape in row["stages"])
            ours = " (ours)" if row["ours"] else ""
            rows.append((row["name"] + ours, f"{row['parameters']:,}", f"{row['macs'] / 1e9:.2f} G", stages))
        print_table(("variant", *numbers, "stages (C, H, W)"), rows, numbers)
        line(f"for images of {result['size']}x{result['size']} pixels and 1000 classes")
        return
    layers = [
        (row["name"], row["kind"], "x".join(map(str, row["output"])), f"{row['parameters']:,}", f"{row['macs']:,}")
        for row in result["layers"]
    ]
    print_table(("layer", "type", "output (C, H, W)", *numbers), layers, numbers)
    macs = f"{result['macs'] / 1e9:.3f} G multiply-adds at {result['size']}x{result['size']}"
    line(f"{result['name']}: {result['parameters']:,} parameters, {macs}")
    if "file" in result:
        print_file(result["file"])


def print_file(described: dict[str, Any]) -> None:
    """Print what a file of weights is, and which of its weights and functions were chosen why."""
    preprocessing = described["preprocessing"]
    size = "x".join(map(str, preprocessing["size"]))
    tensors = f", {described['tensors']} tensors" if described["tensors"] else ""
    line(f"{described['path']}: {described['format']}{tensors}")
    line(f"chosen: {described['reason']}")
    function = f"gate {described['gate']}, channel aggregation {described['channel_aggregation']}"
    line(f"function: {function}, stem stride {described['stem_stride']}")
    line(f"classes: {described['num_classes']}; input: {described['in_chans']} channels, {size} pixels")
    if described["sha256"]:
        line(f"sha256: {described['sha256']}; fixtures: {described['fixtures']}")


@app.command(help="Write a MODEL in another format: our file, a hub folder, the official layout, .pdparams.")
def convert(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="x.safetensors, x.pth.tar, x.pdparams, or a folder.")],
    to: Annotated[
        Literal["model", "hub", "official", "paddle"] | None, typer.Option(help="The format [default: by OUT's name].")
    ] = None,
    weights: Weights = None,
    gate: Gate = None,
    channel_aggregation: Aggregation = None,
    stem_stride: Stride = None,
    num_classes: Classes = None,
    in_chans: Channels = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.convert import convert as run

    result = run(
        model,
        out,
        to,
        weights=weights,
        gate=gate,
        channel_aggregation=channel_aggregation,
        stem_stride=stem_stride,
        num_classes=num_classes,
        in_chans=in_chans,
    )
    if as_json:
        print_json(result)
        return
    line(f"{result['out']}: {result['name']}, {result['parameters']:,} parameters, format {result['target']}")


@app.command(help="Make a MODEL's folder for the Hugging Face hub, and upload it where a token is at hand.")
def push(
    model: Model,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="user/name on the hub.")],
    out: Annotated[Path | None, typer.Option(help="The folder [default: REPO's name, here].")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a private repository.")] = False,
    weights: Weights = None,
    gate: Gate = None,
    channel_aggregation: Aggregation = None,
    stem_stride: Stride = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.push import push as run

    result = run(
        model,
        repo,
        out,
        private=private,
        weights=weights,
        gate=gate,
        channel_aggregation=channel_aggregation,
        stem_stride=stem_stride,
    )
    if as_json:
        print_json(result)
        return
    line(f"{result['out']}: config.json, model.safetensors, README.md")
    line(f"uploaded: {result['url']}" if result["uploaded"] else "not uploaded: no token; run `hf auth login` first")


@app.command(help="Write a model for another runtime; the file is kept only where it gives what the model gives.")
def export(
    model: Model,
    to: Annotated[
        Literal["onnx", "openvino", "program"] | None, typer.Option(help="onnx, openvino, or program (torch's .pt2).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file [default: beside the model]; with --all a folder.")] = None,
    precision: Annotated[
        Literal["f32", "bf16", "f16", "int8"], typer.Option(help="f32, bf16, f16, or int8 (calibrated with --data).")
    ] = "f32",
    raw: Annotated[
        bool, typer.Option("--raw", help="Take uint8 images (B, H, W, C) of any size, and give probabilities.")
    ] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="With --raw: scale the probabilities by the model's temperature.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=1, max=MAX_SIDE, help="Height and width of the input [default: the model's].")
    ] = None,
    any_size: Annotated[bool, typer.Option("--any-size", help="Leave height and width open.")] = False,
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, help="Images to compare decisions on.")] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of other models or forms beside the model.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every format: size, deviation, accuracy, images/s.")] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.export import export as run
    from moganet.engine.export import export_all
    from moganet.errors import ConfigError

    if every == (to is not None):
        raise ConfigError("say either --to onnx, openvino or program, or --all")
    if every:
        if raw or calibrated or any_size or size is not None or precision != "f32":
            raise ConfigError("--all writes its own choice of forms: leave --precision, --raw, --size, --any-size out")
        result = export_all(model, out, data=data, limit=limit, overwrite=overwrite, progress=show_progress)
        print_json(result) if as_json else _print_exports(result)
        return
    assert to is not None
    options: dict[str, Any] = {"precision": precision, "raw": raw, "calibrated": calibrated, "size": size}
    options |= {"any_size": any_size, "overwrite": overwrite}
    result = run(model, to, out, **options, data=data, limit=limit, progress=show_progress)
    if as_json:
        print_json(result)
        return
    line(f"written to {result['out']} ({result['bytes'] / 1e6:.1f} MB)")
    line(f"largest deviation {result['deviation']:.2g} of the logits' spread (tolerance {result['tolerance']:g})")
    if "agreement" in result:
        line(f"decides as the model on {100 * result['agreement']:.2f} % of {result['num_images']} images")
    if "top1" in result:
        line(f"top-1 {100 * result['top1']:.2f} %, the model {100 * result['top1_before']:.2f} %")


def _print_exports(result: dict[str, Any]) -> None:
    numbers = ("MB", "deviation", "agreement", "top-1", "images/s")
    rows = []
    for row in result["exports"]:
        if "failed" in row:
            rows.append((row["name"], *[""] * len(numbers), row["failed"]))
            continue
        shares = [f"{100 * row[key]:.2f} %" if key in row else "" for key in ("agreement", "top1")]
        rate = f"{row['images_per_second']:.1f}"
        size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
        rows.append((row["name"], size, f"{row['deviation']:.2g}", *shares, rate, row.get("out", "")))
    print_table(("format", *numbers, "file"), rows, numbers)
    height, width = result["size"]
    line(f"images/s for {result['batch_size']} images of {height}x{width} at a time; deviation in standard deviations")
