"""`moganet train`: a network by a recipe."""

from pathlib import Path
from typing import Annotated

from moganet_cli.app import app
from moganet_cli.options import AsJson, Data, Recipe, Settings, option
from moganet_cli.output import Found, dimensions, line, print_json, print_table

RECIPES = sorted(path.stem for path in (Path(__file__).parent.parent / "moganet" / "recipes").glob("*.yaml"))
RESUME = "Go on with the run in --out where it was stopped; begin where none is."
EPOCHS = "Train so many epochs [default: the recipe's]; with --resume more make a run longer, finished or not."
FREEZE = "Let the head alone learn for N epochs, then all layers."
START = "Start from this model's weights; none: from random ones."
PREVIEW = "Draw what the network would see, and train nothing."


@app.command(help=f"Train a network by a recipe: {', '.join(RECIPES)}, or a YAML file.")
def train(
    recipe: Recipe,
    data: Data = None,
    set_: Settings = None,
    out: Annotated[Path | None, option("The run's folder [default: runs/RECIPE-N].")] = None,
    overwrite: Annotated[bool, option("--overwrite", "Replace the run that the folder holds.")] = False,
    resume: Annotated[bool, option("--resume", RESUME)] = False,
    start: Annotated[str | None, option("--from", START, metavar="MODEL")] = None,
    epochs: Annotated[int | None, option(EPOCHS, min=1, metavar="N")] = None,
    freeze_epochs: Annotated[int | None, option("--freeze-epochs", FREEZE, min=0, metavar="N")] = None,
    interactions_every: Annotated[int | None, option("Record interactions every N epochs.", min=1, metavar="N")] = None,
    find_batch: Annotated[bool, option("--find-batch", "Find the batch size first, and train with it.")] = False,
    picture: Annotated[Path | None, option("--preview", PREVIEW, metavar="PNG")] = None,
    profile: Annotated[bool, option("--profile", "Say where a step's time goes, and train nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    short = {"trainer.max_epochs": epochs, "start.freeze_epochs": freeze_epochs}
    short["trainer.interactions_every"] = interactions_every
    set_ = [*(set_ or []), *(f"{key}={value}" for key, value in short.items() if value is not None)]
    if picture is not None:
        from moganet.engine.preview import preview

        drawn = preview(recipe, picture, data, set_, start=start)
        print_json(drawn) if as_json else line(f"{drawn['images']} images drawn in {picture}")
        return
    if profile:
        from moganet.engine.profile import profile as measure

        spent = measure(recipe, data, set_, start=start)
        print_json(spent) if as_json else _print_profile(spent)
        return
    from moganet.engine.train import train as run

    how: dict[str, bool] = {"overwrite": overwrite, "resume": resume, "find_batch": find_batch}
    result = run(recipe, data, set_, out, start=start, **how)
    if result is None:  # a process beside the first one, which alone reports
        return
    print_json(result) if as_json else line(*result.lines())


def _print_profile(result: Found) -> None:
    spent = result["milliseconds"].items()
    rows = [(part, f"{time:.1f}", f"{100 * result['shares'][part]:.1f} %") for part, time in spent]
    print_table(("part", "ms a step", "share"), rows, ("ms a step", "share"))
    size = dimensions(result["size"])
    line(f"{result['images_per_second']:.1f} images/s in steps of {result['batch_size']} images of {size}")
    line("forward, by kind of module: " + ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in result["slowest"].items()))
