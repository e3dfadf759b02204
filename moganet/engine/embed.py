"""`embed`: the features of images into a file, which can be searched, and gone on with."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moganet.config import Precision
from moganet.embeddings.files import check_name, read_features, read_made, write_features
from moganet.embeddings.journal import Journal, alone_with
from moganet.embeddings.rows import MadeWith
from moganet.errors import ConfigError, OutputError
from moganet.files import check_place
from moganet.inference.chosen import Chosen, FeatureStream, Named, Reading, check_split, choose_images, made_with
from moganet.inference.load import as_predictor
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.notices import noted, say
from moganet.numbers import count
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

ANEW = "choose another --out, or --overwrite to begin anew"


class Embedded(Result):
    """A file of features (`dim` an image): how many images it holds, and how many of them are new, or changed.

    out: None where no image could be read, and none was there before. unreadable: files that have no features in it.
    """

    out: str | None
    num_images: int
    added: int
    changed_images: int
    dim: int | None
    images_per_second: float | None
    seconds: float
    model: str
    sha256: str
    runtime: str
    precision: str
    untrained: bool
    unreadable: tuple[LeftOut, ...]


@noted
@threaded
def embed(
    model: str | Path | Predictor,
    files: Named = (),
    data: "Data | None" = None,
    split: str = "all",
    *,
    class_names: "ClassNames | None" = None,
    out: str | Path,
    overwrite: bool = False,
    every: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    fast_decoding: bool = False,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> Embedded:
    """Write what a network makes of images before its head, float32 (D,) each, and go on past those that can't be read.

    files, data, split, class_names: as in `predict`, with `every` for videos; of a set all splits by default.
    device, threads, choices: as in `load`.
    out: a .parquet file (columns file, features, label, content) or .npz (arrays features, files, labels, contents),
    with the model's name, its tensors' hash and its preprocessing in the metadata. What is done lies in OUT.partial
    until all is, so that the same call goes on after any end. Images that OUT has already are left as they are, those
    that changed since are made anew, and those that are no longer named stay.
    overwrite: begin anew. Raises ConfigError for a network that gives no features, and for a file of another model's or
    by other settings, OutputError, DataError, WeightsError.
    """
    place = Path(out)
    check_name(place)
    check_place(place, "--out")
    predictor = as_predictor(model, runtime, precision, device, **choices)
    chosen = choose_images(predictor, files, data, split, class_names, every)
    check_split(split, chosen)
    made, how = (
        made_with(predictor, chosen, fast_decoding=fast_decoding),
        Reading(batch_size, workers, fast_decoding, progress),
    )
    with alone_with(place) as journal:
        if overwrite:
            journal.remove()
        known = {} if overwrite else _known(place, journal, made)
        return _embed(place, journal, known, FeatureStream(predictor, _missing(chosen, known), how), made)


def _known(out: Path, journal: Journal, made: MadeWith) -> dict[str, str]:
    """Give the contents by the names of the images that are done, in the file or in what was begun of it."""
    journal.load()
    if journal.made is not None:
        _check(journal.path, journal.made, made)
        say(f"going on with {journal.path}, where {count(len(journal.known), 'image')} are done")
        return journal.known
    if not out.exists():
        return {}
    own = read_made(out)
    if own is None:
        raise OutputError(f"{out} is there and holds no features of images; {ANEW}")
    _check(out, own, made)
    return {
        file: content for rows in read_features(out) for file, content in zip(rows.files, rows.contents, strict=True)
    }


def _check(path: Path, own: MadeWith, made: MadeWith) -> None:
    if difference := own.differs(made) or own.differs_in_images(made):
        raise ConfigError(f"{path} holds {difference}; {ANEW}")


def _missing(chosen: Chosen, known: dict[str, str]) -> Chosen:
    """Give the images that are not done, or have changed since; say which of those that are done are not named."""
    names = [chosen.split.name_of(place) for place in range(len(chosen.split))]
    done = [place for place, name in enumerate(names) if name in known]
    contents = dict(zip(done, chosen.split.subset(done).contents(), strict=True)) if done else {}
    todo = [i for i, name in enumerate(names) if i not in contents or contents[i].hex() != known[name]]
    if others := len(known.keys() - set(names)):
        say(f"{count(others, 'image')} of the file not among those named now: what is in it stays")
    first = dict(zip(reversed([names[i] for i in todo]), reversed(todo), strict=True))
    return chosen.only([i for i in todo if first[names[i]] == i])  # a table may name an image twice


def _embed(out: Path, journal: Journal, known: dict[str, str], stream: FeatureStream, made: MadeWith) -> Embedded:
    before, added, changed, start = set(known), 0, 0, time.perf_counter()
    dim = None
    try:
        for rows in stream:
            if journal.made is None:
                journal.begin(made, read_features(out) if before else ())
            journal.append(rows)
            again = len(before.intersection(rows.files))
            added, changed, dim = added + len(rows) - again, changed + again, rows.features.shape[1]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(journal)) from None
    seconds = time.perf_counter() - start
    if journal.made is not None:
        write_features(out, journal.made, journal.rows, journal.known)
        journal.remove()
    total = len(journal.known) or len(before)
    if dim is None and total:
        dim = next(read_features(out)).features.shape[1]
    return Embedded(
        out=str(out) if total else None,
        num_images=total,
        added=added,
        changed_images=changed,
        dim=dim,
        images_per_second=(added + changed) / seconds if added + changed else None,
        seconds=seconds,
        model=made.model,
        sha256=made.sha256,
        runtime=stream.predictor.runtime,
        precision=made.precision,
        untrained=made.untrained,
        unreadable=(*stream.chosen.absent, *stream.unreadable),
    )


def _stopped(journal: Journal) -> str:
    if not journal.known:
        return "stopped before an image was done"
    return f"stopped; {count(len(journal.known), 'image')} are kept in {journal.path}: the same command goes on"
