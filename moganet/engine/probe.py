"""`probe`: whether a data set can be learned, told in a minute from fixed features, before a training of hours."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moganet.config import Precision
from moganet.data import Dataset, Split
from moganet.data.divide import choose_held_out, choose_share
from moganet.data.leaks import describe_leaks
from moganet.embeddings.learn import Known
from moganet.errors import DataError
from moganet.inference.chosen import Chosen, FeatureStream, Reading
from moganet.inference.load import as_predictor
from moganet.inference.own_data import choose_split, open_for
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import Runtime
from moganet.notices import noted, say
from moganet.numbers import count, percent
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import LeftOut, Result
from moganet.tasks.probing import Measured, Probed
from moganet.tasks.recipes import task_for

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

LIMIT = 10_000  # images of a side, which take less than a minute at 32 pixels
FEW = 100  # images measured, below which an interval is wide


class ProbeResult(Result):
    """What fixed features of a model say of a data set: see `Probed` for the figures.

    num_train: images that were learned from, num_images: those measured, of `split`. learnable: as in `Probed`.
    cannot_tell: what none of this says.
    """

    model: str
    sha256: str
    data: str
    split: str
    task: str
    num_train: int
    num_images: int
    num_features: int
    probed: Probed
    learnable: bool
    cannot_tell: tuple[str, ...]
    unreadable: tuple[LeftOut, ...]
    untrained: bool
    seconds: float

    def lines(self) -> Iterator[str]:
        """Say the figures, a line each, then what they mean and what they don't."""
        found = self.probed
        yield f"{self.num_train:,} training images, {self.num_images:,} of {self.split} measured by {found.metric}"
        yield f"linear probe: {_text(found.linear)}"
        yield f"{count(found.num_nearest, 'nearest image')}: {_text(found.nearest)}"
        yield f"always the commonest: {percent(found.majority, 2)}; by chance: {percent(found.chance, 2)}"
        yield self.verdict()
        yield from (f"it can't tell {one}" for one in self.cannot_tell)

    def verdict(self) -> str:
        """Say in a sentence what was found."""
        if self.learnable:
            return "learnable: these features tell the classes apart, beyond both baselines by more than luck gives"
        return "not shown to be learnable: no figure lies beyond both baselines by more than luck gives"


@noted
@threaded
def probe(
    model: str | Path | Predictor,
    data: "Data | None" = None,
    split: str = "val",
    *,
    class_names: "ClassNames | None" = None,
    validation: float | None = None,
    seed: int = 0,
    limit: int = LIMIT,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    device: str = "auto",
    threads: int | None = None,
    **choices: Any,
) -> ProbeResult:
    """Say how well a network's fixed features tell a data set's classes apart, before anything is trained.

    Two answers are measured on images that were not learned from: votes of the nearest training images, and logistic
    regression on the features; beside them what the commonest answer gives, and chance. The set may have one class an
    image, or any number, and others than the model.
    data, class_names: as in `evaluate`; None takes the set that the model was trained on. It is divided as by `train`:
    its own val, else a share `validation` [0.2] drawn by `seed`. split: what is measured, "val" or "test".
    limit: images of each side at most, every class in proportion. device, threads, choices: as in `load`.
    Raises DataError for a set of which nothing can be learned, ConfigError for a network that gives no features.
    """
    if validation is not None and not 0 < validation < 1:
        raise DataError(f"validation is {validation}; it must lie between 0 and 1, as 0.2 does")
    start = time.perf_counter()
    predictor = as_predictor(model, runtime, precision, device, **choices)
    dataset, is_home = open_for(predictor, data, class_names)
    task = task_for(dataset)
    if not is_home or validation is not None:
        dataset = dataset.with_validation(validation, seed)
    if split in ("train", "all"):
        raise DataError(f"--split {split} would measure what is learned from; choose val or test")
    for leak in describe_leaks(dataset):
        say(leak, doubtful=True)
    how = Reading(batch_size, workers, progress=progress)
    name, asked_split = choose_split(dataset, split)
    sides = {"train": dataset.split("train"), name: asked_split}
    known, asked = (_see(predictor, dataset, (one, part), limit, how) for one, part in sides.items())
    found = task.probe(known[0], asked[0], dataset.class_names, _inner(known[1], seed))
    return ProbeResult(
        model=predictor.name_of_model,
        sha256=predictor.config.sha256,
        data=dataset.spec,
        split=name,
        task=task.name,
        num_train=len(known[0].rows),
        num_images=len(asked[0].rows),
        num_features=known[0].features.shape[1],
        probed=found,
        learnable=found.learnable,
        cannot_tell=tuple(_cannot_tell(predictor, found, len(asked[0].rows), is_home=is_home)),
        unreadable=(*known[2], *asked[2]),
        untrained=not predictor.trained,
        seconds=time.perf_counter() - start,
    )


def _see(
    predictor: Predictor, dataset: Dataset, named: tuple[str, Split], limit: int, how: Reading
) -> tuple[Known, Split, Sequence[LeftOut]]:
    """Give features and labels of a split's readable images, these images, and what can't be read."""
    name, split = named
    if len(split) > limit:
        places = choose_share(split.targets.strata(), limit / len(split), seed=0)
        say(f"{len(places):,} of {len(split):,} images of {dataset.spec} ({name}) are taken; more by --limit")
        split = split.subset(places.tolist())
    stream = FeatureStream(predictor, Chosen(split, dataset.spec, name), how)
    found = [*stream.features()]
    stream.check()
    seen = split.subset([place for places, _ in found for place in places])
    strata = seen.targets.strata()
    rows = strata if strata.ndim == 2 else strata[:, None] == np.arange(len(dataset.class_names))
    features = np.concatenate([features for _, features in found])
    return Known(features, rows.astype(np.uint8), strata.ndim == 1), seen, stream.unreadable


def _inner(seen: Split, seed: int) -> NDArray[np.int64] | None:
    """Hold back training images to choose by; None where there are too few."""
    try:
        return choose_held_out(seen.targets.strata(), 0.2, seed, seen.groups, seen.contents())
    except DataError:
        return None


def _cannot_tell(predictor: Predictor, found: Probed, number: int, *, is_home: bool) -> Iterator[str]:
    yield "how good a trained network gets: these are fixed features, made for other images; training makes its own"
    yield "by what classes are told apart, which may be the background or the camera; `moganet similar` shows more"
    if number < FEW:
        yield f"much by {count(number, 'image')}: the intervals are wide"
    if empty := sum(not one.images for one in found.per_class):
        yield f"anything of {empty:,} of the {len(found.per_class):,} classes, of which no image was measured"
    if not found.chosen:
        yield "which penalty and number of neighbours are best: there were too few images to choose by"
    if is_home:
        yield "what can be learned from scratch: the model's features were trained on these very labels"
    if not predictor.trained:
        yield "what good features would: this network is untrained"


def _text(measured: Measured) -> str:
    low, high = (percent(bound, 2) for bound in measured.interval)
    return f"{percent(measured.value, 2)} (95 % interval {low} to {high})"
