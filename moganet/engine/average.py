"""`average`: the mean of several models' weights as one model, kept only where it measures up to them.

Weights can be averaged of runs that began from the same trained weights: a uniform soup (Wortsman et al. 2022).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn
from torch.random import fork_rng

from moganet.config import AugmentConfig, DataConfig, validate
from moganet.data import Dataset, Split
from moganet.data.contents import SKETCHED
from moganet.data.module import ImageDataModule, take
from moganet.devices import Where
from moganet.engine.evaluate import tell
from moganet.engine.report import keep_guard
from moganet.errors import ConfigError, DataError, OutputError, WeightsError
from moganet.files import check_place
from moganet.inference import Predictor, read_model, save_model_file
from moganet.inference.exported import is_exported
from moganet.inference.own_data import choose_split, in_classes_of, open_for
from moganet.inference.runtimes import open_predictor
from moganet.inference.stream import Stream
from moganet.models.build import build_from
from moganet.models.description import ModelDescription
from moganet.models.fit import follow_names
from moganet.models.make_fixtures import NUM_FIXTURES, make_fixtures
from moganet.models.provenance import num_trained_on
from moganet.models.stored import StoredModel
from moganet.models.timms import ends_of
from moganet.notices import noted, say
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.results import Metric, Record, Result
from moganet.tasks import TASKS
from moganet.tasks.records import Table
from moganet.tasks.task import TaskDescription

NUM_STATISTICS, BATCH = 4000, 64  # training images that the norms' statistics are computed of, and at a time
SUFFIX = ".safetensors"


class Measured(Record, extra="allow"):
    """A model, or the average of all, and what was measured of it, by the figures' names."""

    model: str
    sha256: str
    __pydantic_extra__: dict[str, float]


class Averaged(Result):
    """A model of averaged weights. metric: the figure that decides, which each of `models` and `average` has.

    statistics: where the norms' come from: "recomputed" on training images, "averaged" with the weights, or "none".
    """

    out: str
    models: tuple[Measured, ...]
    average: Measured
    metric: str
    data: str
    split: str
    num_images: int
    statistics: str

    def table(self) -> Table:
        """Give the figures of each model, and of the average."""
        names = [name for name in self.average if name not in Measured.model_fields]
        metrics = {metric.name: metric for task in TASKS.values() for metric in task.metrics}
        rows = [
            (one.model, *(metrics[n].text(one[n]) if n in metrics else f"{one[n]:.4f}" for n in names))
            for one in (*self.models, self.average)
        ]
        return Table(("model", *names), rows, names)

    def lines(self) -> Iterator[str]:
        """Say where it lies, and on what it was measured."""
        norms = {"recomputed": "; the norms' statistics were computed anew on training images", "none": ""}
        how = norms.get(self.statistics, "; the norms' statistics are averaged too")
        yield f"measured on {self.num_images} images of {self.data} ({self.split}){how}"
        yield f"written to {self.out}"


@dataclass(frozen=True)
class _Home:
    """What the models are measured on, and what they were trained on, where that is at hand."""

    dataset: Dataset
    split: str
    images: Split
    training: Dataset | None
    is_home: bool


@noted
@threaded
def average(
    models: Sequence[str | Path],
    out: str | Path = "average.safetensors",
    data: str | None = None,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Averaged:
    """Average the weights of several models of one network and the same classes, and write the mean as a model file.

    models: runs' folders (their best weights) or model files. data: labelled images to measure on, SOURCE[:PATH] or a
    path; None takes the validation images of the runs, which must be the same for all. The statistics of batch norms
    are computed anew on the first model's training images, where they are at hand.
    overwrite: let `out` be replaced. device: where they are measured. threads: with how many it computes.
    Raises ConfigError for models that do not fit together, and WeightsError where the
    average is worse than the worst of them: nothing is written then.
    """
    target = Path(out)
    _check_target(target, overwrite=overwrite)
    stored = [_read(one) for one in models]
    _refuse_others(stored, models)
    predictors = [
        _predictor(build_from(one), one.description, str(name), device)
        for one, name in zip(stored, models, strict=True)
    ]
    home = _open(predictors, data)
    network = _mean_network(stored)
    statistics = _settle_norms(network, home.training, stored[0].description, workers)
    joint = _predictor(network, _described(stored), str(target), device)
    measured = [_measure(one, home, workers, progress) for one in (*predictors, joint)]
    figures, monitor = [found for found, _ in measured], joint.task.monitor
    _refuse_worse(figures, monitor, home)
    named = [
        Measured(model=str(name), sha256=one.description.sha256, **found)
        for name, one, found in zip(models, stored, figures, strict=False)
    ]
    description = _with_provenance(
        joint.config.changed(task=measured[-1][1]), network, named, (home, figures[-1], statistics)
    )
    save_model_file(target, network.state_dict(), description)
    if home.is_home:
        keep_guard(target, _predictor(network, description, str(target), device), home.dataset, workers)
    return Averaged(
        out=str(target),
        models=tuple(named),
        average=Measured(model=str(target), sha256=_read(target).description.sha256, **figures[-1]),
        metric=monitor.name,
        data=home.dataset.spec,
        split=home.split,
        num_images=len(home.images),
        statistics=statistics,
    )


def _check_target(target: Path, *, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise OutputError(f"{target} does not end in {SUFFIX}, as a model file does; name it so")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} is there already; choose another --out, or --overwrite it")
    check_place(target, "--out")


def _read(model: str | Path) -> StoredModel:
    if is_exported(Path(model)):
        raise ConfigError(f"{model} is an exported file, which holds no weights to average; give what it was made of")
    return read_model(model)


def _refuse_others(stored: Sequence[StoredModel], names: Sequence[str | Path]) -> None:
    """Raise ConfigError for models that are not of one network, task, preprocessing and the same classes."""
    if len(stored) < 2:
        raise ConfigError("weights are averaged of two models or more; give them all")
    first, seen = stored[0].description, dict[str, str]()
    for name, one in zip(map(str, names), stored, strict=True):
        for what, own, common in _traits(one.description, first):
            if own != common:
                raise ConfigError(
                    f"{name} has {what} than {names[0]} ({own}, not {common}); weights of one kind can be averaged"
                )
        tensors = one.description.sha256 or name
        if tensors in seen:
            raise ConfigError(f"{name} and {seen[tensors]} have the same weights; give each model once")
        seen[tensors] = name


def _traits(own: ModelDescription, first: ModelDescription) -> Iterator[tuple[str, object, object]]:
    """Give what must be the same of two models, each with its name, and both values."""
    yield "another task", own.task.name, first.task.name
    for part, what in (("architecture", "another network"), ("preprocessing", "another preprocessing")):
        mine, theirs = (getattr(one, part).model_dump() for one in (own, first))
        for name in mine:
            if name not in ("drop_rate", "drop_path_rate"):  # of training alone
                yield f"{what}, by its {name},", mine[name], theirs[name]
    yield "other classes", sorted(own.class_names), sorted(first.class_names)


def _predictor(network: nn.Module, description: ModelDescription, name: str, device: str) -> Predictor:
    return open_predictor(network, description, "eager", where=Where(device), name_of_model=name)


def _open(predictors: Sequence[Predictor], data: str | None) -> _Home:
    """Open what the models are measured on. Raises DataError where they have no images in common to be measured on."""
    first = predictors[0]
    dataset, is_home = open_for(first, data)
    first.task.check(dataset, training=False)
    name, images = ("val", dataset.splits["val"]) if "val" in dataset.splits else choose_split(dataset, "test")
    for one in predictors[1:]:
        known, told = num_trained_on(one.config.provenance, images.contents)
        where = f"{known:,} of {told:,} images of {dataset.spec} ({name})"
        if known and is_home:
            held = f"{one.name_of_model} was trained on {where}, which {first.name_of_model} was not"
            raise DataError(f"{held}, so that they can't be compared there; give --data that none was trained on")
        if known:
            say(
                f"{one.name_of_model} was trained on {where}, by their contents; figures of these flatter",
                doubtful=True,
            )
    training = dataset if is_home else _trained_on(first)
    return _Home(dataset, name, in_classes_of(first, dataset, images), training, is_home)


def _trained_on(predictor: Predictor) -> Dataset | None:
    """Give the set that a model was trained on, where this machine has it as it was."""
    try:
        dataset, is_home = open_for(predictor, None)
    except DataError:
        return None
    return dataset if is_home else None


def _mean_network(stored: Sequence[StoredModel]) -> nn.Module:
    """Give a network of the mean of the weights; the heads' classes go by their names."""
    first = stored[0].description
    ends, names = ends_of(first.architecture), first.class_names
    states = [follow_names(one.state, ends, one.description.class_names, names)[0] for one in stored]
    mean = {name: _mean([state[name] for state in states]) for name in states[0]}
    plain = first.architecture.changed(drop_rate=0.0, drop_path_rate=0.0)  # nothing is dropped while norms are settled
    made = StoredModel(stored[0].path, mean, first.changed(architecture=plain), stored[0].chosen)
    return build_from(made).eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Give the mean in the tensors' own type; of counters the first."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)


def _settle_norms(network: nn.Module, training: Dataset | None, first: ModelDescription, workers: int | None) -> str:
    """Compute the statistics of batch norms anew, since those of averaged weights are not the average; say how.

    They are of images as the first run saw them: of images that are not augmented they made single models worse.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return "none"
    recipe = first.provenance.get("recipe")
    if training is None or not isinstance(recipe, dict) or not {"data", "augment"} <= recipe.keys():
        what = "the training images, or how they were augmented, are not at hand: the statistics of norms are averaged"
        say(f"{what} like the weights, which is only near to theirs", doubtful=True)
        return "averaged"
    data, augment = validate(DataConfig, recipe["data"], "data"), validate(AugmentConfig, recipe["augment"], "augment")
    size = min(data.batch_size, BATCH, len(training.split("train")))
    data = data.changed(batch_size=size, workers=workers, drop_last=True)
    module = ImageDataModule(training, data, first.preprocessing, augment, seed=0)
    with fork_rng(devices=[]):
        batches = islice(module.train_dataloader(), max(1, NUM_STATISTICS // size))
        update_bn((module.augmented(batch).images for batch in batches), network)
    module.teardown("fit")
    network.eval()
    return "recomputed"


def _measure(
    predictor: Predictor, home: _Home, workers: int | None, progress: Progress
) -> tuple[dict[str, float], TaskDescription]:
    """Give a model's figures, and its task as validation images have it."""
    task = predictor.config.task
    evaluator, stream = predictor.task.evaluator(task, keeps=False), Stream(predictor, home.images, None, workers)
    tell(evaluator, stream, home.images, progress, "average")
    stream.check(f"{home.dataset.spec} ({home.split})")
    known = {name: metric for name, metric in evaluator.figures().items() if metric.update_called}  # some need logits
    return {name: float(metric.compute()) for name, metric in known.items()}, evaluator.fitted(task)


def _refuse_worse(figures: Sequence[Mapping[str, float]], monitor: Metric, home: _Home) -> None:
    """Raise WeightsError where the last figures, the average's, are worse than the worst of the others."""
    sign = monitor.sign
    *others, ours = (sign * one[monitor.name] for one in figures)
    if ours < min(others):
        texts = monitor.text(sign * ours), monitor.text(sign * min(others))
        where = f"{len(home.images)} images of {home.dataset.spec} ({home.split})"
        worse = f"the average has {monitor.short} {texts[0]} on {where}, the worst of the models {texts[1]}"
        raise WeightsError(
            f"{worse}: nothing is written; weights can be averaged of runs that began from the same trained weights "
            "(--from); `moganet evaluate A B` averages answers, of any"
        )


def _described(stored: Sequence[StoredModel]) -> ModelDescription:
    """Describe the average: nothing is fitted to it yet. Its training images are those of all."""
    first = stored[0].description
    every = [one.description.provenance for one in stored]
    kept = {key: value for key, value in every[0].items() if key in ("recipe", "data", "fingerprint", "seed")}
    if any(one.get("fingerprint") != every[0].get("fingerprint") for one in every):
        kept = {"data": every[0].get("data")}  # no images were held back from all
    images = sorted({name for one in every for name in str(one.get("images", "")).split()})
    provenance = {**kept, "images": " ".join(images[:SKETCHED])}
    task = first.task.anew(first.class_names)
    return first.changed(task=task, provenance=provenance, fixtures=(), sha256="")


def _with_provenance(
    description: ModelDescription,
    network: nn.Module,
    models: Sequence[Measured],
    found: tuple[_Home, Mapping[str, float], str],
) -> ModelDescription:
    """Let the model file say of what it is the average, and what was measured of it."""
    home, figures, statistics = found
    samples = [sample.image for sample in take(home.images, NUM_FIXTURES)]
    versions = {"moganet": version("moganet"), "torch": torch.__version__, "timm": version("timm")}
    where = {"data": home.dataset.spec, "split": home.split, "num_images": len(home.images)}
    provenance = {
        **description.provenance,
        "averaged": [dict(one) for one in models],
        "statistics": statistics,
        "measured": {**where, **figures},
        "versions": versions,
    }
    fixtures = make_fixtures(network, description.preprocessing, samples)
    return description.changed(provenance=provenance, fixtures=fixtures)
