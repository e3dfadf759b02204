"""`moganet interactions`: how strong patches interact in networks, at each order."""

import re
from pathlib import Path
from typing import Annotated, Literal, Unpack

import typer

from moganet_cli.app import EXIT_INTERRUPTED, UNDERSTANDING, app
from moganet_cli.completion import models as words
from moganet_cli.help import COMPUTED, PRINTED
from moganet_cli.options import BATCH, AsJson, Asking, Data, Seed, Side, Split, argument, option, with_options
from moganet_cli.output import Found, complain, from_here, line, print_json, print_table, untrained

UNITS = {"s": 1, "m": 60, "h": 3600, "": 1}


def seconds_of(text: str) -> float:
    """Read a time such as 90s, 10m or 1.5h."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no time; write it as 90s, 10m or 1.5h")
    return float(found[1]) * UNITS[found[2]]


class Measured(Asking, total=False):
    """What is passed on as it is."""

    grid: Annotated[int | None, option("Patches a side [default: 14 where it divides the side, else 16].")]
    images: Annotated[int | None, option("Images [default: 50].")]
    pairs: Annotated[int | None, option("Pairs of patches an image [default: 200].")]
    contexts: Annotated[int | None, option("Contexts a pair and order [default: 100].")]
    budget: Annotated[
        float | None, option("90s, 10m, 1h: choose images, pairs, contexts for it.", parser=seconds_of, metavar="TIME")
    ]
    filter: Annotated[Literal["correct", "all"], option("Images that every model has right, or all.")]
    reward: Annotated[Literal["log-odds", "log-p", "logit"], option("What an answer is worth, for the true class.")]
    baseline: Annotated[Literal["zero", "mean", "blur"], option("What absent patches show, after normalisation.")]
    size: Side
    seed: Seed
    batch_size: Annotated[int | None, option("Masks at a time [default: the fastest].", panel=COMPUTED, **BATCH)]
    overwrite: Annotated[bool, option("--overwrite", "Remove the measurement in --out first.", panel=PRINTED)]


@app.command(
    help="Measure how strong patches interact in networks at each order, on the same images for all.",
    epilog="moganet interactions moganet_nano.cifar10 --data cifar10 --budget 10m --out interactions",
    rich_help_panel=UNDERSTANDING,
)
@with_options
def interactions(
    models: Annotated[
        list[str], argument("MODEL...", "MODELs, exported files, timm:NAME, or timm:NAME@CHECKPOINT.", words)
    ],
    data: Data = None,
    split: Split = "test",
    out: Annotated[
        Path | None, option("Folder for results as they come; the same command goes on with them.", panel=PRINTED)
    ] = None,
    as_json: AsJson = False,
    **passed: Unpack[Measured],
) -> None:
    from moganet.engine.interactions import interaction_curves
    from moganet.progress import watched

    try:
        with watched() as watch:
            result = interaction_curves(models, data, split, out=out, watch=watch, **passed)
    except KeyboardInterrupt:
        kept = f"what was measured is in {out}; the same command goes on" if out else "nothing is kept without --out"
        complain(f"moganet: stopped; {kept}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    print_json(result) if as_json else _print(result)


def _print(result: Found) -> None:
    models = result["models"]
    heads = ("m", "m/n", *(Path(one["name"]).name for one in models))
    table = []
    for rows in zip(*(one["curve"] for one in models), strict=True):
        cells = (f"{row['J']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows)
        table.append((str(rows[0]["order"]), f"{rows[0]['fraction']:.2f}", *cells))
    print_table(heads, table, heads)
    for one in models:
        rate = f"{one['evaluations_per_second']:,.0f} a second" if one["evaluations_per_second"] else "stored"
        low, high = one["middle_band"]
        middle = f"middle orders {one['middle']:.3f} ({low:.3f} to {high:.3f})"
        line(f"{one['name']}{untrained(one)}: {middle}, {one['evaluations']:,} evaluations, {rate}")
    for pair in result["comparisons"]:
        low, high = pair["middle_band"]
        line(f"{pair['second']} minus {pair['first']}: middle orders {pair['middle']:+.3f} ({low:+.3f} to {high:+.3f})")
    line(
        f"{result['images']} images of {from_here(result['data'])} ({result['split']}, {result['filter']}), "
        f"{result['pairs']} pairs, {result['contexts']} contexts, grid {result['grid']}x{result['grid']}; "
        f"bands of {100 * result['level']:.0f} %"
    )
    if "out" in result:
        line(f"written to {result['out']} (interactions.json, interactions.csv, interactions.png)")
