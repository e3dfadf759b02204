"""`interactions`: how strong the interactions of patches are in networks, at each order, on the same images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moganet.config import Precision, Preprocessing
from moganet.data import Dataset, open_data
from moganet.errors import ConfigError, DataError, choose_of
from moganet.inference import Predictor
from moganet.inference.load import as_predictor
from moganet.inference.masking import Baseline, MeasuredNetwork, logits_of
from moganet.inference.measurement import Found, MeasurementRun, Watch
from moganet.inference.own_data import choose_split, match_classes, open_for
from moganet.inference.runtimes import Runtime
from moganet.interactions import REWARDS, Curve, strength
from moganet.interactions.files import InteractionFiles, Measurement
from moganet.interactions.results import AtOrder, InteractionCurves, NetworkCurve, difference
from moganet.interactions.sampling import usual_grid
from moganet.machine import keep_freed_memory
from moganet.models.find import is_bare
from moganet.models.timms import configuration, is_timms
from moganet.notices import noted
from moganet.numbers import dimensions
from moganet.processors import threaded
from moganet.report.comparisons import draw_interactions

if TYPE_CHECKING:
    from moganet.data.in_python import ClassNames, Data

    Named = tuple[Data | None, ClassNames | None]

Filter = Literal["correct", "all"]


@noted
@threaded
def interaction_curves(
    models: str | Path | Predictor | Sequence[str | Path | Predictor],
    data: "Data | None" = None,
    split: str = "test",
    *,
    class_names: "ClassNames | None" = None,
    grid: int | None = None,
    images: int | None = None,
    pairs: int | None = None,
    contexts: int | None = None,
    budget: float | None = None,
    filter: Filter = "correct",  # noqa: A002 (the command line's word)
    reward: str = "log-odds",
    baseline: Baseline = "zero",
    size: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    device: str = "auto",
    threads: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    watch: Watch = lambda done, total: None,
    **choices: Any,
) -> InteractionCurves:
    """Measure the strength of multi-order interactions, J^(m), of networks on the same images, pairs and contexts.

    models: MODELs (files, runs, exported files), "timm:NAME", or "timm:NAME@CHECKPOINT".
    device, threads, choices: as in `load`.
    data: SOURCE[:PATH], a path, or a data set of your own; None takes the set that the first model was trained on.
    split, class_names: as `evaluate`'s.
    grid: patches a side [14 where 14 divides the side, else 16, at most the side]. images, pairs an image, contexts a
        pair and order: [50, 200, 100], or with budget (seconds) what gives the least error in that time.
    filter: "correct" takes images that every model classifies correctly, "all" any. reward: "log-odds", "log-p" or
        "logit". baseline: what absent patches show, "zero" (the preprocessing's mean), "mean" (the data's) or "blur".
    size: pixels a side [each model's own]. batch_size: masks at a time [the fastest].
    out: a folder that keeps each image's result as it comes, so that the same call goes on, and interactions.json,
        .csv and .png. It may later be asked for more images or other models.
    Gives `models` (each with `curve` rows, `middle` and its band), `comparisons` with the first model, and settings.
    Raises ConfigError, DataError, WeightsError or InteractionError.
    """
    named = [models] if isinstance(models, str | Path | Predictor) else list(models)
    _check_words(named, reward, filter)
    opened = partial(as_predictor, runtime=runtime, precision=precision, device=device, **choices)
    networks, dataset = _open_all(named, (data, class_names), size, opened)
    split, part = choose_split(dataset, split)
    grid = usual_grid(min(min(one.preprocessing.size) for one in networks)) if grid is None else grid
    amount = {"grid": grid, "pairs": pairs, "contexts": contexts, "images": images, "budget": budget, "batches": None}
    fixed = {"data": dataset.spec, "split": split, "filter": filter, "reward": reward, "baseline": baseline}
    settings = Measurement(**fixed, **amount, seed=seed, size=size)
    _check(settings, networks)
    run = MeasurementRun(networks, part, settings, InteractionFiles(None if out is None else Path(out)), watch)
    run.begin(batch_size, overwrite)
    return _result(run, *run.measure())


def _check_words(models: Sequence[object], reward: str, kept: str) -> None:
    if not models:
        raise ConfigError("there is no model to measure; name at least one")
    if reward not in REWARDS:
        raise ConfigError(f"there is no reward {reward!r}; {choose_of(reward, REWARDS)}")
    if kept not in ("correct", "all"):
        raise ConfigError(f"there is no filter {kept!r}; {choose_of(kept, ('correct', 'all'))}")


def _needs_data(model: str | Path | Predictor) -> bool:
    """Tell whether the data set says first how many classes a network has: timm's, and a bare variant's name."""
    return not isinstance(model, Predictor) and (is_timms(model) or is_bare(model))


def _open_all(
    named: Sequence[str | Path | Predictor], data: "Named", size: int | None, opened: Callable[..., Predictor]
) -> tuple[list[MeasuredNetwork], Dataset]:
    """Open the data set, and all networks by `opened`, ready to be asked about its classes."""
    known = [None if _needs_data(one) else opened(one) for one in named]
    first = next((one for one in known if one is not None), None)
    dataset = _open_data(first, data)
    like, number = None if first is None else first.config.preprocessing, len(dataset.class_names)
    networks = []
    for model, predictor in zip(named, known, strict=True):
        one = predictor or _open_for(str(model), number, opened)
        _check_task(one, dataset)
        own = one.config.preprocessing if predictor is not None else _preprocessing(one, like, number)
        own = own if size is None else own.changed(size=(size, size))
        networks.append(MeasuredNetwork(one, logits_of(one), own, _classes(one, dataset.class_names)))
    names = [one.name for one in networks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{twice} is named twice; name each model once")
    if networks[0].device.type == "cpu":
        keep_freed_memory()
    return networks, dataset


def _open_for(name: str, classes: int, opened: Callable[..., Predictor]) -> Predictor:
    """Open timm's network or a bare variant for a number of classes: trained where a file or timm has weights."""
    has_them = "@" in name or _published(name) == classes
    return opened(name) if has_them else opened(name, num_classes=classes, pretrained=False)


def _open_data(first: Predictor | None, named: "Named") -> Dataset:
    data, class_names = named
    if first is not None:
        return open_for(first, data, class_names)[0]
    if data is None:
        raise DataError("these models do not say what they were trained on; give --data SOURCE[:PATH]")
    return open_data(data, class_names)


def _check_task(predictor: Predictor, dataset: Dataset) -> None:
    if not predictor.task.rewards:
        what = f"{predictor.name_of_model} does not give an image one class"
        raise ConfigError(f"{what}, so that no reward of its patches can be measured; give a classifier")
    predictor.task.check(dataset, training=False)


def _published(name: str) -> int | None:
    """Give the number of classes of timm's weights; None for what is no network of timm's."""
    return configuration(name.partition("@")[0]).get("num_classes") if is_timms(name) else None


def _preprocessing(predictor: Predictor, like: Preprocessing | None, classes: int) -> Preprocessing:
    """Give how images come to a network that has no description of its own: as to the first model of ours.

    Where its classes may be those of timm's weights, it is as timm says.
    """
    own, provenance = predictor.config.preprocessing, predictor.config.provenance
    described = predictor.trained and "preprocessing" not in provenance.get("guessed", ())
    may_be_timms = _published(predictor.config.architecture.name) == classes
    if described or may_be_timms or like is None or like.channels != own.channels:
        return own
    return like


def _classes(predictor: Predictor, names: tuple[str, ...]) -> tuple[int, ...]:
    """Give the logit of each class: by its name, or by its number where nobody has named the network's classes."""
    foreign = not predictor.trained or is_timms(predictor.name_of_model)
    if foreign and len(predictor.class_names) == len(names) and not set(names) <= set(predictor.class_names):
        return tuple(range(len(names)))
    return tuple(match_classes(names, predictor.class_names))


def _check(asked: Measurement, networks: Sequence[MeasuredNetwork]) -> None:
    for name in ("grid", "pairs", "contexts", "images"):
        if asked[name] is not None and asked[name] < 1:
            raise ConfigError(f"{name} is {asked[name]}; give at least 1")
    if asked.budget is not None and asked.budget <= 0:
        raise ConfigError(f"the budget is {asked.budget} seconds; give more, say 10m")
    for one in networks:
        if asked.grid > min(one.preprocessing.size):
            size = dimensions(one.preprocessing.size)
            what = f"a grid of {asked.grid} patches a side is finer than {one.name}'s {size} pixels"
            raise ConfigError(f"{what}; ask for a coarser one, or a larger --size")


def _result(run: MeasurementRun, found: dict[str, Found], images: list[str]) -> InteractionCurves:
    curves = {name: strength(one.images) for name, one in found.items()}
    models = [_curve_of(run, one, curves[one.name], found[one.name]) for one in run.networks]
    first, *others = curves
    settings = {name: value for name, value in run.settings.items() if name not in ("images", "batches")}
    result = InteractionCurves(
        **settings,
        images=len(images),
        images_looked_at=run.images.looked_at,
        players=run.amount.grid**2,
        level=curves[first].level,
        models=models,
        comparisons=[difference(first, other, curves) for other in others],
        image_ids=images,
        **({} if run.plan is None else {"plan": vars(run.plan)}),
    )
    folder = run.files.folder
    if folder is None:
        return result
    result.write(folder)
    draw_interactions({name: curve.rows() for name, curve in curves.items()}, folder / "interactions.png", result.title)
    return result.changed(out=str(folder))


def _curve_of(run: MeasurementRun, one: MeasuredNetwork, curve: Curve, found: Found) -> NetworkCurve:
    evaluations = sum(image.evaluations for image in found.images)
    return NetworkCurve(
        name=one.name,
        untrained=not one.predictor.trained,
        runtime=one.predictor.runtime,
        precision=one.predictor.precision,
        size=list(one.preprocessing.size),
        batch_size=run.batches[one.name],
        evaluations=evaluations,
        seconds=found.seconds,
        evaluations_per_second=evaluations / found.seconds if found.seconds else None,
        middle=curve.middle,
        middle_band=list(curve.middle_band),
        curve=[AtOrder.model_validate(row) for row in curve.rows()],
    )
