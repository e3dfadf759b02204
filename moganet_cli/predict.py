"""`moganet predict`: what images show."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Unpack

import typer

from moganet_cli.app import EXIT_PARTLY, EXIT_USER, USING, app
from moganet_cli.help import IMAGES, PRINTED
from moganet_cli.options import (
    AsJson,
    Boxes,
    Calibrated,
    Data,
    Every,
    Model,
    ReadingViews,
    Split,
    TopK,
    argument,
    option,
    with_options,
)
from moganet_cli.output import Rows, complain, line

if TYPE_CHECKING:
    from moganet.engine.predict import Predictions


WHAT = "images, folders, patterns, archives (zip, tar), videos, lists (.txt, .csv), or '-' for a list on stdin."
TRUTH = "auto takes folders' names that are classes' for the truth, and says so; folders: it is so; none."
SAVE = "A new folder for a copy of each picture with its answer on it."
SORT = "A new folder, into which images are copied by class; rejected ones into _rejected."
OUT = "Write a row for each image: .jsonl, .parquet, .csv; of masks, boxes, poses also a folder, for pictures."

COCO = "Write all that is found, of any score, as COCO's list of results."


class Predicting(ReadingViews, total=False):
    """What is passed on as it is."""

    top_k: TopK
    limit: Annotated[int | None, option("At most so many images.", min=1, panel=IMAGES)]
    calibrated: Calibrated
    grid: Annotated[Path | None, option("Draw up to 48 images with prediction and truth.", panel=PRINTED)]
    csv_file: Annotated[Path | None, option("--csv", "Write a row for each image and class.", panel=PRINTED)]
    every: Every
    boxes: Boxes
    truth: Annotated[Literal["auto", "folders", "none"], option(TRUTH, panel=IMAGES)]
    out: Annotated[Path | None, option(OUT, panel=PRINTED)]
    save_images: Annotated[Path | None, option(SAVE, metavar="FOLDER", panel=PRINTED)]
    sort_into: Annotated[Path | None, option(SORT, metavar="FOLDER", panel=PRINTED)]
    coco: Annotated[Path | None, option(COCO, metavar="FILE.json", panel=PRINTED)]
    links: Annotated[bool, option("--links", "Let --sort-into make symbolic links in place of copies.", panel=PRINTED)]


@app.command(
    help="Name what images show. Several MODELs, all before the images, answer as one, by their mean.",
    epilog="moganet predict moganet_nano.cifar10 photo.jpg\nmoganet predict runs/digits-1 photos --csv answers.csv\n"
    "moganet predict runs/a runs/b photo.jpg --tta flip\nmoganet predict runs/a clip.mp4 --every 1s --out a.jsonl",
    rich_help_panel=USING,
)
@with_options
def predict(
    model: Model,
    files: Annotated[list[str] | None, argument("[MODEL]... [FILES]...", f"More models; then {WHAT}")] = None,
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
    if not as_json:
        line(*_said(result, passed))
    raise typer.Exit(0 if not result.unreadable else EXIT_PARTLY if rows.number else EXIT_USER)


def _said(result: "Predictions", passed: Predicting) -> Iterator[str]:
    """Say what was found and written beside the rows."""
    if result.hits is not None:
        yield result.hits.line()
    if result.grid is not None:
        yield f"grid: {result.grid}"
    if result.out is not None:
        beside = f" (beside them {', '.join(result.files)})" if result.files else ""
        yield f"answers: {result.out}{beside}"
    if result.coco is not None:
        yield f"COCO's list of results: {result.coco}"
    if result.saved is not None:
        yield f"pictures: {result.saved:,} in {passed['save_images']}"
    if result.sorted is not None:
        yield f"sorted: {result.sorted:,} in {passed['sort_into']}"


def _divided(words: list[str]) -> tuple[list[str], list[str]]:
    """Divide words into models, which stand first, and images. Raises ConfigError for a model behind images."""
    from moganet.errors import ConfigError
    from moganet.models.find import names_model

    number = next((n for n, word in enumerate(words[1:], 1) if not names_model(word)), len(words))
    if late := [word for word in words[number:] if names_model(word)]:
        what = f"{late[0]} is a model, and stands behind images"
        raise ConfigError(f"{what}: give all models first (a run's pictures are images as {late[0]}/*.png)")
    if words[number:] and (like := _model_like(words[number])):
        raise ConfigError(f"{words[number]} is no file, and no model either; did you mean the model {like}?")
    return words[:number], words[number:]


def _model_like(word: str) -> str | None:
    """Give the trained model whose name a word that is no file may stand for."""
    from moganet.data.formats import readable_suffixes
    from moganet.errors import nearest
    from moganet.models.find import list_trained

    is_image = Path(word).suffix.lower() in readable_suffixes()
    return None if is_image or os.path.lexists(word) else nearest(word, list_trained(), 0.8)
