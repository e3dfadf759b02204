"""The `moganet` command: one typer command a verb, which parses, calls and prints.

It lies beside the package, since importing the package brings torch and timm in, and `--help` must not wait for them.
"""

import logging
import sys
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

RECIPES = sorted(path.stem for path in (Path(__file__).parent / "moganet" / "recipes").glob("*.yaml"))
EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="moganet",
    help="MogaNet image networks: train, measure and use them. Results go to stdout, progress to stderr.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file, a checkpoint, an exported file, a run's or hub folder, or a name (moganet_small.in1k).",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE[:PATH]", help="digits, cifar10, cifar100, folder:PATH, table:FILE, or a path."
    ),
]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The name of a recipe that ships, or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. trainer.max_epochs=10; may be repeated."),
]
Split = Annotated[str, typer.Option(help="test, val, train or all; where a set has no test, val is taken.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Precision = Annotated[Literal["f32", "bf16", "f16"], typer.Option(help="f32, bf16, or f16 (GPU).")]
Runtime = Annotated[
    Literal["auto", "eager", "compile", "onnx", "openvino"],
    typer.Option(help="auto (OpenVINO where it is installed and there is no GPU, else eager), or one by its name."),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images at a time [default: 128 on a GPU, else 32].")]
Weights = Annotated[
    Literal["plain", "ema"] | None,
    typer.Option(help="Which of a file's weights [default: those of the published accuracy]."),
]
Gate = Annotated[Literal["single", "double"] | None, typer.Option(help="The gate's function [default: the file's].")]
Aggregation = Annotated[
    Literal["reference", "paddle"] | None,
    typer.Option("--channel-aggregation", help="The channel mixer's function [default: the file's]."),
]
Stride = Annotated[
    int | None, typer.Option("--stem-stride", help="4, 2 or 1; tensors do not show it [default: the file's, or 4].")
]
Classes = Annotated[
    int | None, typer.Option("--num-classes", min=0, help="Another number of classes: the head starts anew.")
]
Channels = Annotated[
    int | None, typer.Option("--in-chans", min=1, help="Another number of input channels: the stem is adapted.")
]


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("moganet"))
        raise typer.Exit


@app.command(help=f"Train a network by a recipe: {', '.join(RECIPES)}, or a YAML file.")
def train(
    recipe: Recipe,
    data: Data = None,
    set_: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder [default: runs/RECIPE-N].")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that the folder holds.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out where it was stopped; begin where none is.")
    ] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Start from this model's weights.")
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Find the learning rate first, and train with it.")
    ] = False,
    find_batch: Annotated[bool, typer.Option("--find-batch", help="Find the batch size first, likewise.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option("--preview", metavar="PNG", help="Draw what the network would see, and train nothing."),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where a step's time goes, and train nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.train import preview
    from moganet.engine.train import train as run

    if picture is not None:
        drawn = preview(recipe, picture, data, set_ or [], start=start)
        print_json(drawn) if as_json else print(f"{drawn['images']} images drawn in {picture}")
        return
    if profile:
        _profile(recipe, data, set_ or [], start, as_json)
        return
    options = {"start": start, "overwrite": overwrite, "resume": resume, "find_lr": find_lr, "find_batch": find_batch}
    try:
        result = run(recipe, data, set_ or [], out, **options)  # type: ignore[arg-type]
    except KeyboardInterrupt as interrupt:  # typer would drop what it says
        exit_code = getattr(interrupt, "exit_code", None)
        if str(interrupt) or exit_code is None:  # of several processes the first one speaks
            print(f"\nmoganet: {interrupt or 'stopped'}", file=sys.stderr)
        raise typer.Exit(exit_code or EXIT_INTERRUPTED) from None
    if not result:  # a process beside the first one, which alone reports
        return
    if as_json:
        print_json(result)
        return
    print(f"trained {result['epochs']} epochs ({result['steps']} steps) in {result['seconds']:.0f} s")
    if result["best"]:
        print(f"best validation top-1: {100 * result['best']['top1']:.2f} % after epoch {result['best']['epoch']}")
    print(f"results: {result['out']} (best.safetensors, last.safetensors, curves.png, metrics.csv)")


def _profile(recipe: str, data: str | None, settings: list[str], start: str | None, as_json: bool) -> None:
    from moganet.engine.profile import profile

    result = profile(recipe, data, settings, start=start)
    if as_json:
        print_json(result)
        return
    table = Table("part", Column("ms a step", justify="right"), Column("share", justify="right"), box=None)
    for part, spent in result["milliseconds"].items():
        table.add_row(part, f"{spent:.1f}", f"{100 * result['shares'][part]:.1f} %")
    Console().print(table)
    size = "x".join(map(str, result["size"]))
    print(f"{result['images_per_second']:.1f} images/s in steps of {result['batch_size']} images of {size}")
    print("forward, by kind of module: " + ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in result["slowest"].items()))


@app.command(help="Measure a model on a labelled set: accuracy, calibration, classes, and images per second.")
def evaluate(
    model: Model,
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json and confusion.png [default for a run: in its folder]."),
    ] = None,
    batch_size: BatchSize = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.evaluate import evaluate as run

    result = run(
        model,
        data,
        split,
        out=out,
        batch_size=batch_size,
        runtime=runtime,
        precision=precision,
        progress=show_progress,
    )
    for item in result["unreadable"]:
        print(f"left out: {item['reason']}", file=sys.stderr)
    if as_json:
        print_json(result)
        return
    low, high = (100 * bound for bound in result["interval"])
    untrained = " (untrained)" if result["untrained"] else ""
    print(f"{model}{untrained} on {result['data']}, {result['split']}, {result['num_images']} images")
    print(f"top-1 {100 * result['top1']:.2f} % (95 % interval {low:.2f} to {high:.2f})")
    print(f"top-5 {100 * result['top5']:.2f} %, loss {result['loss']:.4f}")
    print(f"expected calibration error {100 * result['ece']:.2f} %, {result['images_per_second']:.0f} images/s")
    table = Table(
        "class", *(Column(name, justify="right") for name in ("precision", "recall", "F1", "images")), box=None
    )
    for row in result["per_class"]:
        table.add_row(
            row["name"], *(f"{100 * row[key]:.1f} %" for key in ("precision", "recall", "f1")), str(row["num_images"])
        )
    Console().print(table)
    if "out" in result:
        print(f"written to {result['out']} (evaluation.json, confusion.png)")


@app.command(help="Name what images show. FILES: images, folders, patterns, or '-' for a list on stdin.")
def predict(
    model: Model,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILES]...", help="Images, folders, patterns, or '-'.")
    ] = None,
    data: Data = None,
    split: Split = "test",
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    grid: Annotated[Path | None, typer.Option(help="Draw up to 48 images with prediction and truth.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a row for each image and class.")] = None,
    batch_size: BatchSize = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.predict import predict as run

    result = run(
        model,
        files or [],
        data,
        split,
        top_k=top_k,
        limit=limit,
        grid=grid,
        csv_file=csv_file,
        batch_size=batch_size,
        runtime=runtime,
        precision=precision,
        progress=show_progress,
    )
    for item in result["unreadable"]:
        print(f"can't read {item['file']}: {item['reason']}", file=sys.stderr)
    nothing = EXIT_USER if result["unreadable"] and not result["predictions"] else 0
    if as_json:
        print_json(result)
        raise typer.Exit(nothing)
    table = Table("file", "prediction", box=None)
    for item in result["predictions"]:
        named = ", ".join(f"{found['name']} {100 * found['probability']:.1f} %" for found in item["classes"])
        table.add_row(escape(item["file"]), escape(named) + (" (untrained)" if item.get("untrained") else ""))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    if "grid" in result:
        print(f"grid: {result['grid']}")
    raise typer.Exit(nothing)


@app.command(help="Show the table of variants, the layers of one, or what a file of weights is.")
def info(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A variant (moganet_tiny, or short: xt t s b l xl) or any MODEL."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of the input [default: the model's, or 224].")
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
    if name is None:
        table = Table(
            "variant",
            Column("parameters", justify="right"),
            Column("MACs", justify="right"),
            "stages (C, H, W)",
            box=None,
        )
        for row in result["variants"]:
            stages = "  ".join("x".join(map(str, shape)) for shape in row["stages"])
            table.add_row(
                row["name"] + (" (ours)" if row["ours"] else ""),
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e9:.2f} G",
                stages,
            )
        Console().print(table)
        print(f"for images of {result['size']}x{result['size']} pixels and 1000 classes")
        return
    table = Table(
        "layer",
        "type",
        "output (C, H, W)",
        Column("parameters", justify="right"),
        Column("MACs", justify="right"),
        box=None,
    )
    for row in result["layers"]:
        table.add_row(
            row["name"], row["kind"], "x".join(map(str, row["output"])), f"{row['parameters']:,}", f"{row['macs']:,}"
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    macs = f"{result['macs'] / 1e9:.3f} G multiply-adds at {result['size']}x{result['size']}"
    print(f"{result['name']}: {result['parameters']:,} parameters, {macs}")
    if "file" in result:
        print_file(result["file"])


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
    print(f"{result['out']}: {result['name']}, {result['parameters']:,} parameters, format {result['target']}")


@app.command(help="Check a model file: the hash of its tensors, and the answers that it recorded.")
def verify(
    model: Model,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest deviation, relative to the largest recorded logit [default: 1e-4]."),
    ] = None,
    precision: Precision = "f32",
    runtime: Runtime = "auto",
    as_json: AsJson = False,
) -> None:
    from moganet.engine.verify import verify as run

    result = run(model, runtime, precision, tolerance)
    if as_json:
        print_json(result)
    else:
        deviation = result["max_deviation"]
        if result["sha256"]:
            print(f"tensors: sha256 {result['sha256']}, as recorded")
        if deviation is None:
            print("fixtures: none recorded")
        else:
            print(f"fixtures: {result['fixtures']}, largest deviation {deviation:.2g} (allowed {result['limit']:.2g})")
    if not result["ok"]:
        print(f"moganet: {model} does not give the logits that it recorded", file=sys.stderr)
        raise typer.Exit(EXIT_USER)


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
    print(f"{result['out']}: config.json, model.safetensors, README.md")
    print(f"uploaded: {result['url']}" if result["uploaded"] else "not uploaded: no token; run `hf auth login` first")


@app.command(help="Find what is wrong with a data set, and show what this machine offers.")
def doctor(data: Data = None, as_json: AsJson = False) -> None:
    from moganet.engine.doctor import doctor as run

    result = run(data, progress=show_progress)
    if as_json:
        print_json(result)
        return
    found = result["environment"]
    for name in ("python", "processor", "cores", "threads", "memory_gb", "disk_free_gb"):
        print(f"{name}: {found[name]}")
    print(f"GPUs: {', '.join(found['gpus']) or 'none'}; fast bf16: {'yes' if found['fast_bf16'] else 'no'}")
    print(", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    if "data" not in result:
        return
    table = Table("split", "class", Column("images", justify="right"), box=None)
    for split, counts in result["data"]["splits"].items():
        for name, number in counts.items():
            table.add_row(split, escape(name), str(number))
    Console().print(table)
    for finding in result["findings"]:
        print(f"{finding['kind']}: {finding['file']}: {finding['detail']}")
    counts = ", ".join(f"{number} {kind}" for kind, number in result["counts"].items())
    print(f"{result['data']['spec']}: {counts or 'nothing wrong was found'}")


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
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of the input [default: the model's].")
    ] = None,
    any_size: Annotated[bool, typer.Option("--any-size", help="Leave height and width open.")] = False,
    data: Data = None,
    limit: Annotated[int, typer.Option(min=1, help="Images to compare decisions on.")] = 1000,
    every: Annotated[bool, typer.Option("--all", help="Every format: size, deviation, accuracy, images/s.")] = False,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.export import export as run
    from moganet.engine.export import export_all
    from moganet.errors import ConfigError

    if every == (to is not None):
        raise ConfigError("say either --to onnx, openvino or program, or --all")
    if every:
        if raw or any_size or size is not None or precision != "f32":
            raise ConfigError("--all writes its own choice of forms: leave --precision, --raw, --size, --any-size out")
        result = export_all(model, out, data=data, limit=limit, progress=show_progress)
        print_json(result) if as_json else _print_exports(result)
        return
    assert to is not None
    options: dict[str, Any] = {"precision": precision, "raw": raw, "size": size, "any_size": any_size}
    result = run(model, to, out, **options, data=data, limit=limit, progress=show_progress)
    if as_json:
        print_json(result)
        return
    print(f"written to {result['out']} ({result['bytes'] / 1e6:.1f} MB)")
    print(f"largest deviation {result['deviation']:.2g} of the logits' spread (tolerance {result['tolerance']:g})")
    if "agreement" in result:
        print(f"decides as the model on {100 * result['agreement']:.2f} % of {result['num_images']} images")
    if "top1" in result:
        print(f"top-1 {100 * result['top1']:.2f} %, the model {100 * result['top1_before']:.2f} %")


def _print_exports(result: dict[str, Any]) -> None:
    numbers = ("MB", "deviation", "agreement", "top-1", "images/s")
    table = Table("format", *(Column(name, justify="right") for name in numbers), "file", box=None)
    for row in result["exports"]:
        if "failed" in row:
            table.add_row(row["name"], *[""] * len(numbers), escape(row["failed"]))
            continue
        shares = [f"{100 * row[key]:.2f} %" if key in row else "" for key in ("agreement", "top1")]
        rate = f"{row['images_per_second']:.1f}"
        size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
        table.add_row(row["name"], size, f"{row['deviation']:.2g}", *shares, rate, escape(row.get("out", "")))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    height, width = result["size"]
    print(f"images/s for {result['batch_size']} images of {height}x{width} at a time; deviation in standard deviations")


benchmark = typer.Typer(help="Measure how fast a run's parts are on this machine.", no_args_is_help=True)
app.add_typer(benchmark, name="benchmark")


@benchmark.command("data", help="What a recipe's data pipeline feeds, against what its network trains.")
def benchmark_data(
    recipe: Recipe,
    data: Data = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.benchmark import benchmark_data as run

    result = run(recipe, data, set_ or [])
    if as_json:
        print_json(result)
        return
    print(
        f"{result['recipe']} on {result['data']}, {result['size'][0]}x{result['size'][1]}, batch {result['batch_size']}"
    )
    print(f"the pipeline feeds {result['images_per_second']:.0f} images/s")
    print(f"the network trains {result['training_images_per_second']:.1f} images/s: {result['ratio']:.1f} times less")


def print_file(described: dict[str, Any]) -> None:
    """Print what a file of weights is, and which of its weights and functions were chosen why."""
    preprocessing = described["preprocessing"]
    size = "x".join(map(str, preprocessing["size"]))
    tensors = f", {described['tensors']} tensors" if described["tensors"] else ""
    print(f"{described['path']}: {described['format']}{tensors}")
    print(f"chosen: {described['reason']}")
    print(f"function: gate {described['gate']}, channel aggregation {described['channel_aggregation']}", end=", ")
    print(f"stem stride {described['stem_stride']}")
    print(f"classes: {described['num_classes']}; input: {described['in_chans']} channels, {size} pixels")
    if described["sha256"]:
        print(f"sha256: {described['sha256']}; fixtures: {described['fixtures']}")


Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODELS]...", help="MODELs, variants, or timm:NAME [default: moganet_xtiny and timm's]."),
]
Alternatives = Annotated[
    bool | None,
    typer.Option("--alternatives/--no-alternatives", help="Add timm's models of like accuracy [where none is named]."),
]
Batch = Annotated[int, typer.Option(min=1, help="Images at a time.")]
Picture = Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the rates as bars.")]


@benchmark.command("infer", help="Latency, images/s and memory of models, in turns in one run.")
def benchmark_infer(
    models: Models = None,
    size: Annotated[int | None, typer.Option(min=1, help="Pixels a side [default: each model's own].")] = None,
    batch: Batch = 32,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    alternatives: Alternatives = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.benchmark import benchmark_infer as run

    result = run(
        models or [], size, batch, runtime=runtime, precision=precision, alternatives=alternatives, picture=picture
    )
    if as_json:
        print_json(result)
        return
    columns = ("images/s", "p50 (ms)", "p95 (ms)", "memory (MB)", "parameters")
    table = Table("model", *(Column(name, justify="right") for name in columns), "runtime", "size", box=None)
    for row in result.get("models", [result]):
        memory = f"{row['peak_memory_mb']:.0f}" if row["peak_memory_mb"] else ""
        numbers = (f"{row['images_per_second']:.1f}", f"{row['latency_p50']:.1f}", f"{row['latency_p95']:.1f}", memory)
        size_ = "x".join(map(str, row["size"]))
        table.add_row(escape(row["name"]), *numbers, f"{row['parameters']:,}", row["runtime"], size_)
    _print_benchmark(table, result)


@benchmark.command("train", help="Images/s of whole optimizer steps of models, in turns in one run.")
def benchmark_train(
    models: Models = None,
    size: Annotated[int, typer.Option(min=1, help="Pixels a side.")] = 224,
    batch: Batch = 32,
    precision: Annotated[
        Literal["f32", "bf16"] | None, typer.Option(help="[default: bf16 on a GPU that has it, else f32]")
    ] = None,
    alternatives: Alternatives = None,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.benchmark import benchmark_train as run

    result = run(models or [], size, batch, precision=precision, alternatives=alternatives, picture=picture)
    if as_json:
        print_json(result)
        return
    table = Table("model", Column("images/s", justify="right"), Column("parameters", justify="right"), box=None)
    for row in result.get("models", [result]):
        table.add_row(escape(row["name"]), f"{row['images_per_second']:.2f}", f"{row['parameters']:,}")
    _print_benchmark(table, result)
    print(f"settings: {result['settings']}")


def _print_benchmark(table: Table, result: dict[str, Any]) -> None:
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    found = result["environment"]
    where = ", ".join(found["gpus"]) or f"{found['processor']}, {found['threads']} threads"
    print(f"{result['batch_size']} images at a time in {result['precision']}; medians of {result['rounds']}; {where}")
    if "picture" in result:
        print(f"drawn in {result['picture']}")


def print_json(result: dict[str, Any]) -> None:
    """Print one object on stdout."""
    from moganet.files import to_json

    print(to_json(result))


def show_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Draw a bar on stderr while the items pass, on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return items
    from rich.progress import track

    return track(items, what, total, console=console, transient=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; the user's mistakes end in one line and exit code 2, ours in a traceback and 1."""
    warnings.showwarning = _show_warning
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("moganet").setLevel(logging.INFO)
    try:
        app(arguments)
    except Exception as error:
        errors = sys.modules.get("moganet.errors")
        if errors is not None and isinstance(error, errors.MogaNetError):
            print(f"moganet: {_one_line(error)}", file=sys.stderr)
            sys.exit(EXIT_USER)
        traceback.print_exc()
        print(
            "moganet: this is a bug of moganet, not a mistake of yours; please report it with the lines above",
            file=sys.stderr,
        )
        sys.exit(EXIT_BUG)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):  # for developers
        print(f"warning: {message}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """Give an error's own line; one that crossed a worker process carries that process's traceback before it."""
    last = str(error).strip().splitlines()[-1]
    return last.partition("Error: ")[2] if last.startswith("moganet.errors.") else last


if __name__ == "__main__":
    main()
