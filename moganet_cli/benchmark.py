"""`moganet benchmark`: how fast the parts of a run are here."""

from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

from moganet_cli.app import FILES, Application, Group, app
from moganet_cli.completion import models as words
from moganet_cli.help import COMPUTED, PRINTED
from moganet_cli.options import (
    BATCH,
    SIDE,
    AsJson,
    Asking,
    Computing,
    Data,
    Recipe,
    RecipesDevice,
    Settings,
    Side,
    StemChoices,
    Threads,
    argument,
    option,
    with_options,
)
from moganet_cli.output import Found, dimensions, from_here, line, print_json, print_table


class Training(StemChoices, Computing, total=False):
    """What is passed on as it is."""


benchmark = Application(help="Measure how fast a run's parts are on this machine.", cls=Group, no_args_is_help=True)
app.add_typer(benchmark, name="benchmark", rich_help_panel=FILES)


@benchmark.command(
    "data",
    help="What a recipe's data pipeline feeds, against what its network trains.",
    epilog="moganet benchmark data digits",
)
def benchmark_data(
    recipe: Recipe,
    data: Data = None,
    set_: Settings = None,
    device: RecipesDevice = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    from moganet.engine.benchmark_data import benchmark_data as run

    result = run(recipe, data, set_ or [], device=device, threads=threads)
    print_json(result) if as_json else _print_data(result)


def _print_data(result: Found) -> None:
    size, data = dimensions(result["size"]), from_here(result["data"])
    line(f"{result['recipe']} on {data}, {size}, batch {result['batch_size']}, {result['precision']}")
    line(f"the pipeline feeds {result['images_per_second']:.0f} images/s")
    line(f"the network trains {result['training_images_per_second']:.1f} images/s: {result['ratio']:.1f} times less")


Models = Annotated[
    list[str] | None,
    argument("[MODELS]...", "MODELs, variants, or timm:NAME [default: moganet_xtiny and timm's].", words),
]
Alternatives = Annotated[
    bool | None, option("--alternatives/--no-alternatives", "Add timm's to compare in speed [where none is named].")
]
Batch = Annotated[int, option("--batch-size", "--batch", "Images at a time.", panel=COMPUTED, **BATCH)]
Picture = Annotated[Path | None, option("Draw the rates as bars.", metavar="PNG", panel=PRINTED)]


@benchmark.command(
    "infer",
    help="Latency, images/s and memory of models, in turns in one run.",
    epilog="moganet benchmark infer moganet_tiny timm:resnet18 --size 224 --batch-size 1",
)
@with_options
def benchmark_infer(
    models: Models = None,
    size: Side = None,
    batch: Batch = 32,
    alternatives: Alternatives = None,
    picture: Picture = None,
    as_json: AsJson = False,
    **passed: Unpack[Asking],
) -> None:
    from moganet.engine.benchmark import benchmark_infer as run

    result = run(models or [], size, batch, alternatives=alternatives, picture=picture, **passed)
    print_json(result) if as_json else _print_infer(result)


def _print_infer(result: Found) -> None:
    columns = ("images/s", "p50 (ms)", "p95 (ms)", "memory (MB)", "parameters")
    rows = []
    for row in result.get("models", [result]):
        memory = f"{row['peak_memory_mb']:.0f}" if row["peak_memory_mb"] else ""
        numbers = (f"{row['images_per_second']:.1f}", f"{row['latency_p50']:.1f}", f"{row['latency_p95']:.1f}", memory)
        rows.append((row["name"], *numbers, f"{row['parameters']:,}", row["runtime"], dimensions(row["size"])))
    print_table(("model", *columns, "runtime", "size"), rows, columns)
    _print_where(result)


@benchmark.command(
    "train",
    help="Images/s of whole optimizer steps of models, in turns in one run.",
    epilog="moganet benchmark train nano --size 32 --batch-size 128",
)
@with_options
def benchmark_train(
    models: Models = None,
    size: Annotated[int, option("Pixels a side.", **SIDE)] = 224,
    batch: Batch = 32,
    precision: Annotated[
        Literal["f32", "bf16"] | None,
        option("[default: bf16 where the device has units for it, else f32]", panel=COMPUTED),
    ] = None,
    alternatives: Alternatives = None,
    picture: Picture = None,
    as_json: AsJson = False,
    **choices: Unpack[Training],
) -> None:
    from moganet.engine.benchmark import benchmark_train as run

    given: dict[str, Any] = {"precision": precision, "alternatives": alternatives, "picture": picture}
    result = run(models or [], size, batch, **given, **choices)
    print_json(result) if as_json else _print_train(result)


def _print_train(result: Found) -> None:
    measured = result.get("models", [result])
    rows = [(row["name"], f"{row['images_per_second']:.2f}", f"{row['parameters']:,}") for row in measured]
    print_table(("model", "images/s", "parameters"), rows, ("images/s", "parameters"))
    _print_where(result)
    line(f"settings: {result['settings']}")


def _print_where(result: Found) -> None:
    found = result["environment"]
    where = ", ".join(found["gpus"]) or f"{found['processor']}, {found['threads']} threads"
    line(f"{result['batch_size']} images at a time in {result['precision']}; medians of {result['rounds']}; {where}")
    if "picture" in result:
        line(f"drawn in {result['picture']}")
