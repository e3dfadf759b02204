"""The images that a person names, files or a split of a data set, as one split, and the features that a model gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moganet.data import Split
from moganet.data.listing import list_files
from moganet.data.open import SOURCES
from moganet.data.paths import exists
from moganet.data.videos import parse_every
from moganet.embeddings.rows import Features, MadeWith, Rows
from moganet.errors import DataError
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.predictor import Predictor
from moganet.inference.stream import Stream, split_of_files
from moganet.notices import say
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

Named = str | Path | Sequence[str | Path]  # one or several


@dataclass(frozen=True)
class Chosen:
    """Images as one split: of the data set `data` its `part`, or files, where it is None. absent: what is not there."""

    split: Split
    data: str | None = None
    part: str | None = None
    class_names: tuple[str, ...] = ()
    absent: tuple[LeftOut, ...] = ()

    def label(self, predictor: Predictor, place: int) -> str | None:
        """Say an image's label as a person reads it; None where it is not known."""
        if self.data is not None:
            return self.split.targets.text(place, self.class_names) or None
        file = self.split.name_of(place)
        truth = predictor.task.truth_of_file(Path(file), predictor.config.task)
        return None if truth is None else str(truth)

    def only(self, places: Sequence[int]) -> "Chosen":
        """Give some of the images."""
        return Chosen(self.split.subset(places), self.data, self.part, self.class_names, self.absent)


@dataclass(frozen=True)
class Reading:
    """How images are read: as in `Stream`."""

    batch_size: int | None = None
    workers: int | None = None
    fast_decoding: bool = False
    progress: Progress = no_progress


def listed(named: Named) -> Sequence[str | Path]:
    """Give what is named, one or several, as several."""
    return [named] if isinstance(named, str | Path) else named


def choose_images(
    predictor: Predictor,
    named: Named,
    data: "Data | None",
    part: str,
    class_names: "ClassNames | None" = None,
    every: str | None = None,
) -> Chosen:
    """Find the images that are named: files, folders and patterns, or a data set, which may stand among the former.

    Raises DataError where nothing is named, or both.
    """
    named = listed(named)
    if data is None and len(named) == 1 and _is_source(str(named[0])):
        data, named = str(named[0]), ()
        say(f"took {data} for a data source, {part} of its images; choose by --split")
    if data is not None and named:
        raise DataError("give either files or --data, not both")
    if data is not None:
        dataset, _ = open_for(predictor, data, class_names)
        name, split = choose_split(dataset, part)
        return Chosen(split, dataset.spec, name, dataset.class_names)
    if not named:
        raise DataError("there is no image to look at; give images, folders, patterns, '-' or --data SOURCE[:PATH]")
    files, absent = list_files(named, None if every is None else parse_every(every))
    return Chosen(split_of_files(files, predictor.config.preprocessing.white_level), absent=tuple(absent))


def check_split(part: str, *chosen: Chosen) -> None:
    """Raise DataError where a split is asked for, and none of what was chosen is a data set, which has splits."""
    if part != "all" and all(one.data is None for one in chosen):
        raise DataError(f"--split {part} is of a data set, and files have none; name the set: --data folder:PATH")


def _is_source(text: str) -> bool:
    return text.partition(":")[0] in SOURCES and not exists(Path(text))


def made_with(predictor: Predictor, chosen: Chosen, *, fast_decoding: bool = False) -> MadeWith:
    """Say with what a model makes features of images."""
    config = predictor.config
    return MadeWith(
        model=predictor.name_of_model,
        sha256=predictor.sha256,
        architecture=config.architecture,
        preprocessing=config.preprocessing,
        precision=predictor.precision,
        fast_decoding=fast_decoding,
        runtime=predictor.runtime,
        untrained=not predictor.trained,
        moganet=version("moganet"),
        data=chosen.data,
        split=chosen.part,
    )


class FeatureStream:
    """The features of the images that can be read, as rows, a batch at a time; nothing is kept.

    unreadable: what could not be read so far.
    """

    def __init__(self, predictor: Predictor, chosen: Chosen, how: Reading) -> None:
        self.predictor, self.chosen, self.how = predictor, chosen, how
        self.stream = Stream(predictor, chosen.split, how.batch_size, how.workers, fast_decoding=how.fast_decoding)

    @property
    def unreadable(self) -> list[LeftOut]:
        return self.stream.unreadable

    def features(self) -> Iterator[tuple[tuple[int, ...], Features]]:
        """Give where a batch's images stand among those chosen, and their features (B, D)."""
        for seen in self.how.progress(self.stream, len(self.stream), "embed"):
            yield seen.places, np.asarray(self.predictor.features_of(seen.outputs), np.float32)

    def __iter__(self) -> Iterator[Rows]:
        split = self.chosen.split
        for places, features in self.features():
            yield Rows(
                tuple(map(split.name_of, places)),
                tuple(content.hex() for content in split.subset(places).contents()),
                tuple(self.chosen.label(self.predictor, place) for place in places),
                features,
            )

    def check(self) -> None:
        """Raise DataError where the stream has ended and not one image could be read."""
        self.stream.check(f"{self.chosen.data} ({self.chosen.part})" if self.chosen.data else "those named")
