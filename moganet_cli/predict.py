"""`moganet predict`: what images show."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, USING, app
from moganet_cli.help import IMAGES, PRINTED
from moganet_cli.options import AsJson, Data, Model, ReadingViews, Split, argument, option, with_options
from moganet_cli.output import Rows, complain, line

CALIBRATED = "Scale the probabilities by the temperature that the model file keeps."

OUT = "Folder for a mask of each image, an index PNG under its stem, overlays, areas.csv and coco.json (segmenters)."


class Predicting(ReadingViews, total=False):
    """What is passed on as it is."""

    top_k: Annotated[int | None, option("Classes to name for each image [default: 5, or all that are found].", min=1)]
    limit: Annotated[int | None, option("At most so many images.", min=1, panel=IMAGES)]
    calibrated: Annotated[bool, option("--calibrated", CALIBRATED)]
    grid: Annotated[Path | None, option("Draw up to 48 images with prediction and truth.", panel=PRINTED)]
    csv_file: Annotated[Path | None, option("--csv", "Write a row for each image and class.", panel=PRINTED)]
    out: Annotated[Path | None, option(OUT, panel=PRINTED)]


@app.command(
    help="Name what images show. Several MODELs, all before the images, answer as one, by their mean.",
    epilog="moganet predict moganet_nano.cifar10 photo.jpg\nmoganet predict runs/digits-1 photos --csv answers.csv\n"
    "moganet predict runs/a runs/b photo.jpg --tta flip",
    rich_help_panel=USING,
)
@with_options
def predict(
    model: Model,
    files: Annotated[
        list[str] | None,
        argument("[MODEL]... [FILES]...", "More models; then images, folders, patterns, or '-' for a list on stdin."),
    ] = None,
    data: Data = None,
    split: Split = "test",
    as_json: AsJson = False,
    **passed: Unpack[Predicting],
) -> None:
    from moganet.engine.predict import predict as run
    from moganet.progress import show_progress

    rows = Rows("predictions", ("file", "prediction"), as_json=as_json)
    models, named = _divided([model, *(files or [])])
    result = run(models, named, data, split, each=rows.add, progress=show_progress, **passed)
    for item in result.unreadable:
        complain(f"can't read {item.file}: {item.reason}")
    rows.end(result)
    if not as_json and result.grid is not None:
        line(f"grid: {result.grid}")
    if not as_json and result.out is not None:
        line(f"masks: {result.out} (beside them {', '.join(result.files)})")
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if rows.number else EXIT_USER)


def _divided(words: list[str]) -> tuple[list[str], list[str]]:
    """Divide words into models, which stand first, and images. Raises ConfigError for a model behind images."""
    from moganet.errors import ConfigError
    from moganet.models.find import names_model

    number = next((n for n, word in enumerate(words[1:], 1) if not names_model(word)), len(words))
    if late := [word for word in words[number:] if names_model(word)]:
        what = f"{late[0]} is a model, and stands behind images"
        raise ConfigError(f"{what}: give all models first (a run's pictures are images as {late[0]}/*.png)")
    return words[:number], words[number:]
