"""`similar`: which images are most like some others, by the cosine of their features."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moganet import report
from moganet.config import Precision
from moganet.embeddings.files import FORMATS, read_features, read_made
from moganet.embeddings.rows import MadeWith, Rows, joined
from moganet.errors import ConfigError, DataError
from moganet.files import check_place
from moganet.inference.alike import Alike, Asked, Search, search
from moganet.inference.chosen import (
    Chosen,
    FeatureStream,
    Named,
    Reading,
    check_split,
    choose_images,
    listed,
    made_with,
)
from moganet.inference.load import as_predictor
from moganet.inference.pictures import OfChosen, OfFile, Pictures
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.notices import noted, say
from moganet.numbers import count
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.report.nearest import Tile, draw_nearest
from moganet.results import LeftOut, Result

MAX_ROWS = 24  # of a contact sheet
SIDE = 160  # pixels of its pictures
NAMED = 3  # pictures that are gone, in the line on them


class Similar(Result):
    """What is most like each image. among: where it was looked for, num_images: how many. out: the contact sheet."""

    queries: tuple[Asked, ...]
    among: str
    num_images: int
    unreadable: tuple[LeftOut, ...]
    out: str | None = None


@dataclass(frozen=True)
class _Among:
    """What is looked among: rows as they come, their pictures, and what can't be read of them so far."""

    name: str
    rows: Iterable[Rows]
    pictures: Pictures
    unreadable: Callable[[], Sequence[LeftOut]] = tuple


@noted
@threaded
def similar(
    model: str | Path | Predictor,
    queries: Named,
    among: Named,
    *,
    split: str = "all",
    top_k: int = 5,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Similar:
    """Find the images that are most like others, by the cosine of what a network makes of them before its head.

    queries: images, folders or patterns. among: the same, a data set (SOURCE[:PATH], its `split`), or a file that
    `embed` wrote with this model. All are compared, and the nearest `top_k` given; an image itself is left out, its
    copies are marked. out: a contact sheet, a picture's file name, of up to 24 queries.
    device, threads, choices: as in `load`.
    Raises ConfigError where the file's features are another model's, or were made otherwise.
    """
    if out is not None:
        report.check_picture_name(Path(out))
        check_place(Path(out), "--out")
    if top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    predictor = as_predictor(model, runtime, precision, device, **choices)
    file = _file_of(listed(among))
    made = None if file is None else read_made(file)
    how = Reading(batch_size, workers, made is not None and made.fast_decoding, progress)
    asked = FeatureStream(predictor, choose_images(predictor, queries, None, split), how)
    if file is not None and made is not None:
        _check(file, made, asked)
        others = _Among(str(file), read_features(file), OfFile(file, made))
        check_split(split, asked.chosen)
    else:
        others = _of_images(predictor, (listed(among), split), how, asked.chosen)
    seen = [*asked]
    found = search(joined(seen), others.rows, top_k, (OfChosen(asked.chosen), others.pictures)) if seen else None
    result = Similar(
        queries=tuple(found.asked()) if found else (),
        among=others.name,
        num_images=found.nearest.seen if found else 0,
        unreadable=(*asked.chosen.absent, *asked.unreadable, *others.unreadable()),
    )
    _say(result)
    if out is None or found is None:
        return result
    _draw(result, found, Path(out))
    return result.changed(out=str(out))


def _file_of(among: Sequence[str | Path]) -> Path | None:
    """Give the path of a file of features, where that is what is named. Raises DataError where it is one of several."""
    files = [path for one in among if _holds_features(path := Path(one))]
    if files and len(among) > 1:
        raise DataError(f"{files[0]} holds features: look among one such file at a time, or among images")
    return files[0] if files else None


def _holds_features(path: Path) -> bool:
    """Say whether a path is a file of features. Raises DataError where only its name says so: it is no image either."""
    if read_made(path) is not None:
        return True
    if path.suffix.lower() in FORMATS and not path.is_dir():
        what = "holds no features of images" if path.exists() else "is not there"
        raise DataError(f"{path} {what}; `moganet embed` writes such files")
    return False


def _check(file: Path, made: MadeWith, asked: FeatureStream) -> None:
    ours = made_with(asked.predictor, asked.chosen, fast_decoding=made.fast_decoding)
    if difference := made.differs(ours):
        raise ConfigError(f"{file} holds {difference}; give the model that made it as it was then, or embed anew")


def _of_images(predictor: Predictor, named: tuple[Sequence[str | Path], str], how: Reading, asked: Chosen) -> _Among:
    among, split = named
    chosen = choose_images(predictor, among, None, split)
    check_split(split, asked, chosen)
    stream = FeatureStream(predictor, chosen, how)
    name = chosen.data or (str(among[0]) if len(among) == 1 else f"{among[0]} and {len(among) - 1} more")
    return _Among(name, stream, OfChosen(chosen), lambda: [*chosen.absent, *stream.unreadable])


def _say(result: Similar) -> None:
    if result.queries and not result.num_images:
        say(f"{result.among} has no image that can be read, so that nothing is like those asked about", doubtful=True)
    if number := sum(one.itself for one in result.queries):
        say(
            f"{count(number, 'image')} asked about {'is' if number == 1 else 'are'} in {result.among} too, and left out"
        )
    gone = [alike for one in result.queries for alike in one.found if alike.get("picture_missing")]
    if gone:
        names = ", ".join(f"{one.file} ({one.picture_missing})" for one in gone[:NAMED])
        more = f", and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
        say(f"{count(len(gone), 'picture')} of what was found can't be shown: {names}{more}", doubtful=True)


def _draw(result: Similar, found: Search, out: Path) -> None:
    """Draw the contact sheet, of the first queries."""
    rows = list[list[Tile]]()
    for place, asked in enumerate(result.queries[:MAX_ROWS]):
        own, others = found.thumbnails(place, SIDE)
        tiles = [_tile(alike, picture) for alike, picture in zip(asked.found, others, strict=True)]
        rows.append([Tile(own, ("asked about", Path(asked.file).name, "")), *tiles])
    if len(result.queries) > MAX_ROWS:
        say(f"{out} shows the first {MAX_ROWS} of {len(result.queries):,} images asked about")
    draw_nearest(rows, out, f"Most alike among {count(result.num_images, 'image')} of {result.among}")


def _tile(alike: Alike, picture: Any) -> Tile:
    lines = f"{alike.similarity:.3f}", Path(alike.file).name, alike.copy_of_it or alike.label or ""
    return Tile(picture, lines, bool(alike.copy_of_it))
