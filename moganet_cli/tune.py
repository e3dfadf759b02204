"""`moganet tune`: a search for settings by trainings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from moganet_cli.app import TRAINING, app
from moganet_cli.completion import models, settings_words
from moganet_cli.help import PRINTED
from moganet_cli.options import AsJson, Data, Recipe, Settings, Threads, option, with_options
from moganet_cli.output import line, print_json, print_table
from moganet_cli.train import START, Changed

if TYPE_CHECKING:
    from moganet.engine.tune import Tuned

RANGES = (
    "Search a setting: KEY=LOW..HIGH (by the logarithm where the ends differ by a factor of ten; :linear or :log "
    "behind says otherwise) or KEY=A,B,C; may be repeated [default: learning rate and weight decay, a decade to either "
    "side]."
)
OUT = "The folder of all trials; where it holds this search, that goes on [default: runs/RECIPE-tune]."
TRIALS = "Trainings in all, with those of before where the search goes on."
SHOWN = 10  # trials


@app.command(
    help="Search for a recipe's settings by trainings, measured on validation images, never on test ones.",
    epilog="moganet tune digits --trials 10\n"
    "moganet tune finetune --data photos --epochs 10 --set-range optimizer.lr=1e-4..1e-2",
    rich_help_panel=TRAINING,
)
@with_options
def tune(
    recipe: Recipe,
    data: Data = None,
    trials: Annotated[int, option("--trials", TRIALS, min=1, metavar="N")] = 20,
    ranges: Annotated[
        list[str] | None, option("--set-range", RANGES, metavar="KEY=VALUES", words=settings_words)
    ] = None,
    set_: Settings = None,
    out: Annotated[Path | None, option("--out", OUT, panel=PRINTED)] = None,
    start: Annotated[str | None, option("--from", START, metavar="MODEL", words=models)] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    **short: Unpack[Changed],
) -> None:
    from moganet.config import with_short
    from moganet.engine.tune import tune as run

    changes = with_short(set_ or [], short)
    result = run(recipe, data, trials, ranges or [], changes, out, start=start, threads=threads)
    print_json(result) if as_json else _print(result)


def _print(result: "Tuned") -> None:
    order = sorted(result.trials, key=lambda one: (one.state != "complete", -result.of.sign * (one.value or 0.0)))
    heads = ("trial", "state", result.metric, "epochs", *result.settings)
    rows = [
        (
            str(one.number),
            one.state,
            "" if one.value is None else f"{one.value:.4f}",
            str(one.epochs or ""),
            *(str(one.settings.get(key, "")) for key in result.settings),
        )
        for one in order[:SHOWN]
    ]
    print_table(heads, rows, ("trial", result.metric, "epochs"))
    if len(order) > SHOWN:
        line(f"and {len(order) - SHOWN} more")
    line(*result.lines())
