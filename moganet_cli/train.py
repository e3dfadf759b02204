"""`moganet train`: a network by a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypedDict, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, TRAINING, app
from moganet_cli.completion import models, networks
from moganet_cli.help import INSTEAD, PRINTED, SHORT
from moganet_cli.options import (
    BATCH,
    SEED,
    SEEDS,
    SIDE,
    WORKERS,
    AsJson,
    Data,
    Recipe,
    RecipesDevice,
    Settings,
    Threads,
    option,
    with_options,
)
from moganet_cli.output import Found, dimensions, line, print_json, print_table

if TYPE_CHECKING:
    from moganet.engine.series import Folds, Seeds

RESUME = "Go on with the run in --out where it was stopped; begin where none is."
START = "Start from this model's weights; none: from random ones."
FOLDS = "Train K times, each validated on another of K parts; --out is the folder of all, --resume goes on with it."
SEVERAL = "Train with N seeds, from the recipe's on; --out is the folder of all, --resume goes on with it."
ALONE = ("--overwrite", "--preview", "--profile")  # which a series of runs has no use for
PREVIEW = "Draw what the network would see, and train nothing."
EPOCHS = "How often all training images are seen; with --resume, more of them make a run longer, finished or not."
RATE = "Highest learning rate. It does not follow --batch-size, unless the recipe has an optimizer.lr_per."
FREEZE = "Let the head alone learn for N of the epochs, then all layers."
BATCH_SIZE = "Images at a time; trainer.accumulate of them make a step."


class Changed(TypedDict, total=False):
    """What changes the recipe, each as --set does by its longer name."""

    epochs: Annotated[int | None, option(EPOCHS, min=1, panel=SHORT)]
    batch_size: Annotated[int | None, option(BATCH_SIZE, panel=SHORT, **BATCH)]
    lr: Annotated[float | None, option(RATE, min=0, panel=SHORT)]
    size: Annotated[int | None, option("Pixels a side.", panel=SHORT, **SIDE)]
    seed: Annotated[int | None, option(SEEDS, panel=SHORT, **SEED)]
    workers: Annotated[int | None, option(WORKERS, min=0, panel=SHORT)]
    network: Annotated[
        str | None,
        option(
            "nano, xtiny, tiny, small, base, large, xlarge, or timm:NAME.", metavar="NAME", panel=SHORT, words=networks
        ),
    ]
    freeze_epochs: Annotated[int | None, option(FREEZE, min=0, metavar="N", panel=SHORT)]
    interactions_every: Annotated[
        int | None, option("Record interactions every N epochs.", min=1, metavar="N", panel=SHORT)
    ]
    device: RecipesDevice


@app.command(
    help="Train a network by a recipe, into a folder with its weights, curves and report.",
    epilog="moganet train digits --epochs 5\n"
    "moganet train finetune --data photos --network nano --size 128 --set optimizer.weight_decay=0.1",
    rich_help_panel=TRAINING,
)
@with_options
def train(
    recipe: Recipe,
    data: Data = None,
    set_: Settings = None,
    start: Annotated[str | None, option("--from", START, metavar="MODEL", words=models)] = None,
    resume: Annotated[bool, option("--resume", RESUME)] = False,
    find_batch: Annotated[bool, option("--find-batch", "Find the batch size first, and train with it.")] = False,
    folds: Annotated[int | None, option("--folds", FOLDS, min=2, metavar="K")] = None,
    seeds: Annotated[int | None, option("--seeds", SEVERAL, min=2, metavar="N")] = None,
    out: Annotated[Path | None, option("The run's folder [default: runs/RECIPE-N].", panel=PRINTED)] = None,
    overwrite: Annotated[bool, option("--overwrite", "Replace the run that the folder holds.", panel=PRINTED)] = False,
    picture: Annotated[Path | None, option("--preview", PREVIEW, metavar="PNG", panel=INSTEAD)] = None,
    profile: Annotated[
        bool, option("--profile", "Say where a step's time goes, and train nothing.", panel=INSTEAD)
    ] = False,
    threads: Threads = None,
    as_json: AsJson = False,
    **short: Unpack[Changed],
) -> None:
    several = [name for name, given in (("--folds", folds), ("--seeds", seeds)) if given is not None]
    alone = [name for name, given in zip(ALONE, (overwrite, picture, profile), strict=True) if given]
    if several and len(several) + len(alone) > 1:
        raise typer.BadParameter(f"{' and '.join([*several, *alone])} do not go together; give one of them")
    from moganet.config import with_short

    changes = with_short(set_ or [], short)
    if picture is not None:
        from moganet.engine.preview import preview

        drawn = preview(recipe, picture, data, changes, start=start)
        print_json(drawn) if as_json else line(f"{drawn['images']} images drawn in {picture}")
        return
    if profile:
        from moganet.engine.profile import profile as measure

        spent = measure(recipe, data, changes, start=start, threads=threads)
        print_json(spent) if as_json else _print_profile(spent)
        return
    how: dict[str, Any] = {"start": start, "resume": resume, "find_batch": find_batch, "threads": threads}
    if several:
        _print_series(_train_several(folds, seeds, (recipe, data, changes, out), how), as_json=as_json)
    from moganet.engine.train import train as run

    result = run(recipe, data, changes, out, overwrite=overwrite, **how)
    if result is None:  # a process beside the first one, which alone reports
        return
    print_json(result) if as_json else line(*result.lines())


def _train_several(
    folds: int | None, seeds: int | None, asked: tuple[Any, ...], how: dict[str, Any]
) -> "Seeds | Folds":
    from moganet.engine.series import train_folds, train_seeds
    from moganet.progress import show_progress

    if folds is not None:
        return train_folds(*asked, folds=folds, progress=show_progress, **how)
    assert seeds is not None
    return train_seeds(*asked, seeds=seeds, **how)


def _print_series(result: "Seeds | Folds", *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(result)
    else:
        rows = [
            (one.name, "failed" if one.best is None else f"{one.best:.4f}", str(one.epoch or ""), one.error or one.out)
            for one in result.runs
        ]
        print_table(("run", result.metric, "epoch", "folder"), rows, (result.metric, "epoch"))
        line(*result.lines())
    raise typer.Exit(EXIT_PARTLY if any(one.error is not None for one in result.runs) else 0)


def _print_profile(result: Found) -> None:
    spent = result["milliseconds"].items()
    rows = [(part, f"{time:.1f}", f"{100 * result['shares'][part]:.1f} %") for part, time in spent]
    print_table(("part", "ms a step", "share"), rows, ("ms a step", "share"))
    size = dimensions(result["size"])
    line(f"{result['images_per_second']:.1f} images/s in steps of {result['batch_size']} images of {size}")
    line("forward, by kind of module: " + ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in result["slowest"].items()))
