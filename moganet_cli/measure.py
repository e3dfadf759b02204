"""`moganet doctor` and `benchmark`: what is wrong with a data set, and how fast the parts are here."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from moganet_cli.app import AsJson, Data, Precision, Recipe, Runtime, Settings, app, print_json, show_progress


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
    size = "x".join(map(str, result["size"]))
    print(f"{result['recipe']} on {result['data']}, {size}, batch {result['batch_size']}, {result['precision']}")
    print(f"the pipeline feeds {result['images_per_second']:.0f} images/s")
    print(f"the network trains {result['training_images_per_second']:.1f} images/s: {result['ratio']:.1f} times less")


Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODELS]...", help="MODELs, variants, or timm:NAME [default: moganet_xtiny and timm's]."),
]
Alternatives = Annotated[
    bool | None,
    typer.Option("--alternatives/--no-alternatives", help="Add timm's to compare in speed [where none is named]."),
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
        Literal["f32", "bf16"] | None,
        typer.Option(help="[default: bf16 where the device has units for it, else f32]"),
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
