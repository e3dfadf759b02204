"""`compare`: models or runs beside each other, on the same images, as one page and as figures."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moganet.config import Precision, flat
from moganet.data.once import open_once
from moganet.errors import ConfigError
from moganet.files import check_place
from moganet.inference import Predictor
from moganet.inference.common import check_alike, see_common
from moganet.inference.load import as_predictor
from moganet.inference.runtimes import Runtime
from moganet.inference.seen_by_all import Compared, Differing, Pair, SeenByAll, judge, name_apart
from moganet.models.provenance import without_place, without_places
from moganet.notices import noted
from moganet.numbers import count
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.report.compared import Pairing, curves_section, pictures_section, table_section
from moganet.report.page import Fact, Page, Section, make_sheet, write_page
from moganet.results import Metric, Result
from moganet.tasks import monitor_named
from moganet.tasks.report import Album
from moganet.training.origin import read_origin

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

PAGE_END = "comparison.html"
MOST = 16  # models, whose curves can still be told apart
SHEET_BYTES = 3_300_000  # of base64: the page stays below 5 MB
PICTURES, PICTURED = 12, 5  # images of a kind, and models beside the first that are shown with images
LEVEL = 0.05  # below which a p counts as no chance
NOT_SETTINGS = (
    "name",
    "report",
    "logger",
    "data.workers",
    "trainer.save_every",
    "trainer.devices",
    "trainer.num_nodes",
)


class Comparison(Result):
    """Models on the same images: an image is right where all of its answer is. best: the model of the best figure.

    settings: of their recipes, those that are not the same, with each model's value, None where its file does not say.
    unreadable: images that count nowhere. page: the HTML file.
    """

    data: str
    split: str
    num_images: int
    unreadable: int
    metric: str
    best: str
    models: tuple[Compared, ...]
    pairs: tuple[Pair, ...]
    differing: tuple[Differing, ...]
    settings: Mapping[str, tuple[Any, ...]]
    page: str
    left_out: Mapping[str, str]

    @property
    def of(self) -> Metric:
        """Give the metric that is compared."""
        return monitor_named(self.metric)

    def headline(self) -> str:
        """Say which model is best, and whether the images show it."""
        best = next(one for one in self.models if one.name == self.best)
        beside = [pair for pair in self.pairs if best.name in (pair.first, pair.second)]
        unsure = [
            pair.second if pair.first == best.name else pair.first
            for pair in beside
            if pair.p_adjusted >= LEVEL or (pair.difference > 0) != (pair.second == best.name)
        ]
        what = f"{best.name} is best with {self.of.short} {best.text(self.of)} of {count(self.num_images, 'image')}"
        if not unsure:
            return f"{what}, which is more than chance"
        others = "the others" if len(unsure) == len(beside) > 1 else ", ".join(unsure)
        return f"{what}, but these do not tell it from {others}"


@noted
@threaded
def compare(
    models: Sequence[str | Path | Predictor],
    data: "Data | None" = None,
    split: str = "test",
    *,
    class_names: "ClassNames | None" = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare models or runs on the images that all of them can be measured on, told by contents and labels.

    models: MODELs or Predictors, 2 to 16, of one task and with the same classes, in any order. data: None is what each
    was trained on: images that were held back from one and trained on by another are left out. split and the rest: as
    in `evaluate`; a set of your own without names has the first model's. out: the HTML file
    [default: NAMES-comparison.html here].
    Raises ConfigError for models that answer other questions, DataError where they share no image, WeightsError, and
    OutputError before anything is measured.
    """
    if not 2 <= len(models) <= MOST:
        raise ConfigError(f"compare takes 2 to {MOST} models, not {len(models)}")
    paths = [one.name_of_model if isinstance(one, Predictor) else str(one) for one in models]
    names = name_apart(paths)
    place = Path(out) if out is not None else Path(f"{'-'.join(names)[:80].replace('/', '-')}-{PAGE_END}")
    check_place(place, "--out")
    predictors = [as_predictor(model, runtime, precision, device) for model in models]
    check_alike(names, predictors)
    if not predictors[0].task.judges:
        what = f"an image's answer is neither right nor wrong in the task {predictors[0].task.name}"
        raise ConfigError(f"{what}, so that none are compared; evaluate each model")
    given = open_once(data, class_names, predictors[0].class_names)  # the same classes for all models
    common = see_common(names, predictors, given, split, (batch_size, workers, progress))
    seen = SeenByAll(
        names, predictors, common, tuple(judge(*one) for one in zip(predictors, common.answers, strict=True))
    )
    metric = predictors[0].task.monitor
    models_of = tuple(seen.compared(number, path) for number, path in enumerate(paths))
    best = max(models_of, key=lambda one: -np.inf if one.figure is None else metric.sign * one.figure)
    result = Comparison(
        data=common.dataset.spec,
        split=common.split,
        num_images=len(common.answers[0]),
        unreadable=common.unreadable,
        metric=metric.name,
        best=best.name,
        models=models_of,
        pairs=seen.pairs(),
        differing=tuple(seen.differing()),
        settings=_settings(predictors),
        page=str(place),
        left_out={},
    )
    page = _compose(result, seen, paths)
    write_page(page, place)
    return result.changed(left_out=page.left_out)


def _settings(predictors: Sequence[Predictor]) -> dict[str, tuple[Any, ...]]:
    """Give the settings of recipes that are not the same in all models."""
    recipes = [flat(without_places(one.config.provenance.get("recipe") or {})) for one in predictors]
    names = [name for name in dict.fromkeys(itertools.chain(*recipes)) if name not in NOT_SETTINGS]
    values = {name: tuple(recipe.get(name) for recipe in recipes) for name in names}
    said = {name: [recipe[name] for recipe in recipes if name in recipe] for name in names}
    return {name: some for name, some in values.items() if any(value != said[name][0] for value in said[name])}


def _compose(result: Comparison, seen: SeenByAll, models: Sequence[str]) -> Page:
    album, metrics = Album(), {}
    for name, model, predictor in zip(seen.names, models, seen.predictors, strict=True):
        metrics[name] = read_origin(model, predictor.config.provenance, None).metrics
    sections = [
        _figures(result),
        curves_section(metrics, result.of),
        _tests(result),
        _pictures(result, seen, album),
        *_differences(result),
    ]
    return Page(
        title=result.headline(),
        name=", ".join(seen.names),
        split=result.split,
        facts=_facts(result),
        sections=sections,
        sheet=make_sheet(album.pictures(), SHEET_BYTES),
        heats=make_sheet([], 1),
        note=f"{result.unreadable} images can't be read, and count nowhere." if result.unreadable else "",
        ending=False,
    )


def _facts(result: Comparison) -> list[Fact]:
    facts = [("Images", f"{result.num_images:,}", f"{without_place(result.data)}, {result.split}")]
    for one in result.models:
        interval = "" if one.interval is None else f"95 % interval {result.of.between(one.interval)}"
        facts.append((one.name, one.text(result.of), interval))
    return facts


def _figures(result: Comparison) -> Section:
    names = [*result.models[0].figures]
    heads = (
        "model",
        result.of.title,
        "95 % interval",
        *(name for name in names if name != result.metric),
        "trained on",
    )
    rows = []
    for one in result.models:
        interval = "-" if one.interval is None else result.of.between(one.interval)
        others = [
            f"{v:.4f}" if (v := one.figures.get(name)) is not None else "-" for name in names if name != result.metric
        ]
        rows.append((one.name, one.text(result.of), interval, *others, one.trained_on or "-"))
    return table_section("Figures", f"{result.of.title}, and what else was measured", heads, rows)


def _tests(result: Comparison) -> Section:
    heads = ("models", "only the first right", "only the second right", "difference in points, 95 % interval", "p")
    several = len(result.pairs) > 1
    rows = []
    for pair in result.pairs:
        low, high = pair.interval
        points = f"{100 * pair.difference:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        cells = [f"{pair.first}, {pair.second}", f"{pair.only_first:,}", f"{pair.only_second:,}", points, say_p(pair.p)]
        rows.append([*cells, say_p(pair.p_adjusted)] if several else cells)
    note = (
        "McNemar's exact test of the images that only one of two has right: p is the probability of so uneven a "
        "number, were both equally good. An image is right where all of its answer is. "
        + ("The last column is adjusted for the number of pairs (Holm)." if several else "")
    )
    title = "Whether the differences are more than chance"
    return table_section("Test", title, [*heads, "adjusted p"] if several else heads, rows, note.strip())


def say_p(p: float) -> str:
    """Write a probability as a person reads it."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def _pictures(result: Comparison, seen: SeenByAll, album: Album) -> Section:
    right, pairings = seen.right(), []
    for other in range(1, min(len(seen.names), PICTURED + 1)):
        chosen = [np.flatnonzero(right[good] & ~right[bad])[:PICTURES] for good, bad in ((0, other), (other, 0))]
        first, second = (seen.shown((0, other), some, album) for some in chosen)
        ours, theirs = seen.names[0], seen.names[other]
        heads = f"{ours} is right, {theirs} wrong", f"{theirs} is right, {ours} wrong"
        if first or second:
            pairings.append(Pairing(first, second, heads))
    if not pairings:
        return Section("Where they differ", "All have the same images right")
    number = len(result.differing)
    verb = "is" if number == 1 else "are"
    return pictures_section(pairings, f"{count(number, 'image')} {verb} right with one model and wrong with another")


def _differences(result: Comparison) -> list[Section]:
    if not result.settings:
        return []
    rows = [
        (key, *("-" if value is None else str(value) for value in values)) for key, values in result.settings.items()
    ]
    heads = ("setting", *(one.name for one in result.models))
    return [table_section("Settings", "What is not the same in their recipes", heads, rows)]
