"""`moganet compare`: models or runs beside each other, on the same images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from moganet_cli.app import TRAINING, app
from moganet_cli.completion import models as known_models
from moganet_cli.help import PRINTED
from moganet_cli.options import MODEL, AsJson, Comparing, Data, Split, argument, option, with_options
from moganet_cli.output import complain, from_here, line, print_json, print_table

if TYPE_CHECKING:
    from moganet.engine.compare import Comparison

MODELS = f"Two or more: {MODEL[0].lower()}{MODEL[1:]}"
OUT = "HTML file [default: NAMES-comparison.html here]."


@app.command(
    help="Compare models or runs on the same images: curves, figures with intervals, McNemar's test, one page.",
    epilog="moganet compare runs/digits-1 runs/digits-2\nmoganet compare runs/photos photos.onnx --data photos",
    rich_help_panel=TRAINING,
)
@with_options
def compare(
    models: Annotated[list[str], argument("MODEL MODEL...", MODELS, known_models)],
    data: Data = None,
    split: Split = "test",
    out: Annotated[Path | None, option(OUT, panel=PRINTED)] = None,
    as_json: AsJson = False,
    **passed: Unpack[Comparing],
) -> None:
    from moganet.engine.compare import compare as run
    from moganet.progress import show_progress

    result = run(models, data, split, out=out, progress=show_progress, **passed)
    for reason in result.left_out.values():
        complain(reason)
    print_json(result) if as_json else _print(result)


def _print(result: "Comparison") -> None:
    from moganet.engine.compare import say_p

    metric = result.of
    rows = []
    for one in result.models:
        interval = "" if one.interval is None else metric.between(one.interval)
        rows.append((one.name, one.text(metric), interval, one.trained_on or "-"))
    line(f"{result.num_images:,} images of {from_here(result.data)}, {result.split}")
    print_table(("model", result.metric, "95 % interval", "trained on"), rows, (result.metric,))
    for pair in result.pairs:
        low, high = (f"{100 * bound:+.2f}" for bound in pair.interval)
        counts = f"only the first right {pair.only_first}, only the second {pair.only_second}"
        adjusted = f", adjusted {say_p(pair.p_adjusted)}" if len(result.pairs) > 1 else ""
        points = f"{100 * pair.difference:+.2f} points ({low} to {high})"
        line(f"{pair.first} and {pair.second}: {counts}, {points}, p {say_p(pair.p)}{adjusted}")
    line(result.headline(), f"page: {result.page}")
