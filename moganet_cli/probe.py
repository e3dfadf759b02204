"""`moganet probe`: whether a data set can be learned at all."""

from typing import TYPE_CHECKING, Annotated, Unpack

from moganet_cli.app import TRAINING, app
from moganet_cli.options import AsJson, Data, Measuring, Model, Seed, option, with_options
from moganet_cli.output import complain, from_here, line, print_json, print_table, untrained

if TYPE_CHECKING:
    from moganet.engine.probe import ProbeResult

HELP = "Tell in a minute whether a data set can be learned, from a model's fixed features, before a training of hours."


@app.command(help=HELP, epilog="moganet probe moganet_nano.cifar10 --data photos", rich_help_panel=TRAINING)
@with_options
def probe(
    model: Model,
    data: Data = None,
    split: Annotated[str, option("What is measured: val, held back as train does it, or test.")] = "val",
    validation: Annotated[
        float | None, option("Share held back of a set without val [default: 0.2].", min=0, max=1)
    ] = None,
    seed: Seed = 0,
    limit: Annotated[int, option("Images at most to learn from, and to measure.", min=2)] = 10_000,
    as_json: AsJson = False,
    **passed: Unpack[Measuring],
) -> None:
    from moganet.engine.probe import probe as run
    from moganet.progress import show_progress

    result = run(*(model, data, split), validation=validation, seed=seed, limit=limit, progress=show_progress, **passed)
    for item in result.unreadable:
        complain(f"left out: {item.reason}")
    print_json(result) if as_json else _print(result)


def _print(result: "ProbeResult") -> None:
    line(
        f"{result.model}{untrained(result)} on {from_here(result.data)}, {result.num_features} features an image",
        *result.lines(),
    )
    figure = result.probed.of_class
    shares = [
        (f"{100 * one:.1f} %" if one is not None else "-")
        for row in result.probed.per_class
        for one in (row.linear, row.nearest)
    ]
    rows = [(row.name, *shares[2 * i : 2 * i + 2], str(row.images)) for i, row in enumerate(result.probed.per_class)]
    heads = (f"{figure}, linear", f"{figure}, nearest", "images")
    print_table(("class", *heads), rows, heads)
