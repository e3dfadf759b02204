"""`similar`: which images are most like some others, by the cosine of their features."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from moganet import report
from moganet.config import Precision
from moganet.data.duplicates import is_near_copy
from moganet.data.survey import small_images, thumbnails
from moganet.embeddings.files import read_features, read_made
from moganet.embeddings.rows import MadeWith, Rows, joined
from moganet.embeddings.search import Near, Nearest
from moganet.errors import ConfigError, DataError
from moganet.inference.chosen import Chosen, FeatureStream, Reading, choose_images, made_with
from moganet.inference.load import as_predictor
from moganet.inference.pictures import OfChosen, OfFile, Pictures
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.notices import noted, say
from moganet.numbers import count
from moganet.progress import Progress, no_progress
from moganet.report.nearest import Tile, draw_nearest
from moganet.results import LeftOut, Record, Result

MAX_ROWS = 24  # of a contact sheet
SIDE = 160  # pixels of its pictures


class Alike(Record):
    """An image that is like the one asked about: the cosine of their features, 1 where they point the same way.

    label: where it is known. copy_of_it: "copy" of the very bytes, "near copy" of the same picture. picture_missing: why it
    can't be shown, so that it was not told whether it is a near copy.
    """

    file: str
    similarity: float
    label: str | None = None
    copy_of_it: str | None = None
    picture_missing: str | None = None

    def remark(self) -> str:
        """Say what is to be known of it."""
        return self.copy_of_it or (f"no picture: {self.picture_missing}" if self.picture_missing else "")


class Asked(Record):
    """An image that was asked about, and what is most like it. itself: it is among the others too, and left out."""

    file: str
    itself: bool
    found: tuple[Alike, ...]


class Similar(Result):
    """What is most like each image. among: where it was looked for, num_images: how many. out: the contact sheet."""

    queries: tuple[Asked, ...]
    among: str
    num_images: int
    unreadable: tuple[LeftOut, ...]
    out: str | None = None


@dataclass(frozen=True)
class _Among:
    """What is looked among: rows as they come, how many at most, their pictures, what can't be read of them."""

    name: str
    rows: Iterable[Rows]
    pictures: Pictures
    unreadable: Sequence[LeftOut] = ()
    absent: Sequence[LeftOut] = ()


@noted
def similar(
    model: str | Path | Predictor,
    queries: str | Path | Sequence[str | Path],
    among: str | Path | Sequence[str | Path],
    *,
    split: str = "all",
    top_k: int = 5,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    **choices: Any,
) -> Similar:
    """Find the images that are most like others, by the cosine of what a network makes of them before its head.

    queries: images, folders or patterns. among: the same, a data set (SOURCE[:PATH], its `split`), or a file that `embed`
    wrote with this model. All are compared, and the nearest `top_k` given; an image itself is left out, its copies are
    marked. out: a contact sheet, a picture's file name, of up to 24 queries. choices: as in `load`.
    Raises ConfigError where the file's features are another model's, or were made otherwise.
    """
    if out is not None:
        report.check_picture_name(Path(out))
    if top_k < 1:
        raise DataError(f"top-k is {top_k}; it must be at least 1")
    predictor = as_predictor(model, runtime, precision, **choices)
    file = _file_of(among)
    made = None if file is None else read_made(file)
    how = Reading(batch_size, workers, made.fast_decoding if made else False, progress)
    asked = choose_images(predictor, [queries] if isinstance(queries, str | Path) else queries, None, split)
    if made is not None and (difference := made.differs(made_with(predictor, asked, fast_decoding=made.fast_decoding))):
        raise ConfigError(f"{file} holds {difference}; give the model that it was made with, or embed anew")
    stream = FeatureStream(predictor, asked, how)
    seen = [*stream]
    unreadable = [*asked.absent, *stream.unreadable]
    if not seen:
        return Similar(queries=(), among=str(among), num_images=0, unreadable=tuple(unreadable))
    others = _of_file(file, made) if file is not None and made is not None else _of_images(predictor, among, split, how)
    own = joined(seen)
    nearest, itself = _search(own, others.rows, top_k)
    found = _marked(own, nearest, (OfChosen(asked), others.pictures))
    result = Similar(
        queries=tuple(
            Asked(file=name, itself=is_there, found=alike)
            for name, is_there, alike in zip(own.files, itself, found, strict=True)
        ),
        among=others.name,
        num_images=nearest.seen,
        unreadable=(*unreadable, *others.absent, *others.unreadable),
    )
    _say(result)
    if out is None:
        return result
    _draw(result, own, nearest, (OfChosen(asked), others.pictures), Path(out))
    return result.changed(out=str(out))


def _file_of(among: str | Path | Sequence[str | Path]) -> Path | None:
    """Give the path of a file of features, where that is what is named."""
    named = [among] if isinstance(among, str | Path) else among
    path = Path(named[0]) if len(named) == 1 else None
    return path if path is not None and path.is_file() and read_made(path) is not None else None


def _of_file(file: Path, made: MadeWith) -> _Among:
    return _Among(str(file), read_features(file), OfFile(file, made))


def _of_images(predictor: Predictor, among: str | Path | Sequence[str | Path], split: str, how: Reading) -> _Among:
    named = [among] if isinstance(among, str | Path) else among
    chosen = choose_images(predictor, named, None, split)
    stream = FeatureStream(predictor, chosen, how)
    return _Among(chosen.data or ", ".join(map(str, named)), stream, OfChosen(chosen), stream.unreadable, chosen.absent)


def _search(own: Rows, rows: Iterable[Rows], top_k: int) -> tuple[Nearest, list[bool]]:
    """Find the nearest rows that are not the image itself; tell of each image whether it was met."""
    nearest, real = Nearest(own.features, top_k), {Path(file).resolve(): i for i, file in enumerate(own.files)}
    by_content: dict[str, list[int]] = {}
    for place, content in enumerate(own.contents):
        by_content.setdefault(content, []).append(place)
    itself = [False] * len(own)
    for part in rows:
        left_out = np.zeros((len(own), len(part)), bool)
        for number, (file, content) in enumerate(zip(part.files, part.contents, strict=True)):
            if content in by_content and (place := real.get(Path(file).resolve())) is not None:
                left_out[place, number] = itself[place] = True
        nearest.add(part, left_out)
    return nearest, itself


def _marked(own: Rows, nearest: Nearest, pictures: tuple[Pictures, Pictures]) -> Iterator[tuple[Alike, ...]]:
    """Say of each image that was found whether it is a copy of the one asked about, and where it can't be told, why."""
    asked, others = pictures
    for place, found in enumerate(nearest.found):
        query, (where,) = asked.of([_self(own, place)])
        (picture,) = small_images(query, [where]) if isinstance(where, int) else (None,)
        split, places = others.of(found)
        shown = iter(small_images(split, [one for one in places if isinstance(one, int)]))
        alike = []
        for near, there in zip(found, places, strict=True):
            image, more = (next(shown), {}) if isinstance(there, int) else (None, {"picture_missing": there})
            if near.content == own.contents[place]:
                more["copy_of_it"] = "copy"
            elif image is not None and picture is not None and is_near_copy(picture, image):
                more["copy_of_it"] = "near copy"
            known = more if near.label is None else {"label": near.label, **more}
            alike.append(Alike(file=near.file, similarity=near.similarity, **known))
        yield tuple(alike)


def _self(own: Rows, place: int) -> Near:
    return Near(place, own.files[place], own.contents[place], None, 1.0)


def _say(result: Similar) -> None:
    if number := sum(one.itself for one in result.queries):
        say(f"{count(number, 'image')} asked about {'is' if number == 1 else 'are'} in {result.among} too, and left out")
    moved = [alike for one in result.queries for alike in one.found if alike.picture_missing]
    if moved:
        names = ", ".join(f"{one.file} ({one.picture_missing})" for one in islice(moved, 3))
        more = f", and {len(moved) - 3} more" if len(moved) > 3 else ""
        say(f"{count(len(moved), 'picture')} of what was found can't be shown: {names}{more}", doubtful=True)


def _draw(result: Similar, own: Rows, nearest: Nearest, pictures: tuple[Pictures, Pictures], out: Path) -> None:
    """Draw the contact sheet, of the first queries."""
    rows = list[list[Tile]]()
    for place, asked in enumerate(result.queries[:MAX_ROWS]):
        (own_picture,) = _shown(pictures[0], [_self(own, place)])
        others = _shown(pictures[1], nearest.found[place])
        tiles = [
            Tile(picture, (f"{alike.similarity:.3f} {alike.label or ''}", Path(alike.file).name, alike.copy_of_it or ""), bool(alike.copy_of_it))
            for alike, picture in zip(asked.found, others, strict=True)
        ]
        rows.append([Tile(own_picture, ("asked about", Path(asked.file).name, "")), *tiles])
    if len(result.queries) > MAX_ROWS:
        say(f"{out} shows the first {MAX_ROWS} of {len(result.queries):,} images asked about")
    draw_nearest(rows, out, f"Most alike among {count(result.num_images, 'image')} of {result.among}")


def _shown(pictures: Pictures, near: Sequence[Near]) -> list[Any]:
    split, places = pictures.of(near)
    shown = iter(thumbnails(split, [place for place in places if isinstance(place, int)], SIDE))
    return [next(shown) if isinstance(place, int) else None for place in places]
