"""From a recipe as it is written to one in which nothing is open: what data, weights, launcher and device say of it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm.optim import list_optimizers

from moganet.config import (
    Architecture,
    Preprocessing,
    Recipe,
    ResolvedRecipe,
    parse_overrides,
    refuse_two,
    unfolded,
    validate,
)
from moganet.config.recipe import fold_of
from moganet.data import Dataset, open_data
from moganet.data.leaks import describe_leaks
from moganet.data.module import check_readable
from moganet.devices import choose_device
from moganet.errors import ConfigError, choose_of, did_you_mean
from moganet.inference.load import load
from moganet.launchers import launched, refuse_without_srun
from moganet.machine import has_fast_bf16, num_cores
from moganet.network import full_name
from moganet.notices import say
from moganet.numbers import count
from moganet.tasks.recipes import load_recipe, task_of
from moganet.training.loggers import LOGGERS
from moganet.training.signals import is_first_process
from moganet.training.start import choose_start

if TYPE_CHECKING:
    from moganet.data.in_python import Data

MOST_PROCESSES_A_CORE = 4
MAX_CLASSES = 20  # named in the line on the data set


def prepare(
    recipe: str | Path,
    data: "Data | None",
    overrides: Mapping[str, Any] | Sequence[str],
    start: str | Path | None = None,
    resumed: ResolvedRecipe | None = None,
) -> tuple[ResolvedRecipe, Dataset]:
    """Read a recipe and open its data, and fill in what it leaves to these, to starting weights, and to the launcher.

    resumed: the recipe of a run that goes on; it knows already what its starting weights said.
    Raises ConfigError where the recipe says otherwise than they do.
    """
    settings, said = load_recipe(recipe, overrides), unfolded(parse_overrides(overrides))
    for word, given, key in (("data", data, "data.source"), ("from", start, "start.model")):
        if given is not None:
            refuse_two(word, given, key, said)
    if start is not None:
        settings = settings.changed(start=settings.start.changed(model=str(start)))
    choose_device(settings.trainer.accelerator)  # which is looked for before the images are
    dataset = open_divided(settings.data.source if data is None else data, settings)
    resolved = resolve(settings, dataset, resumed)
    if is_first_process() and (step := _step_of(resolved, load_recipe(recipe))):
        say(step)
    return resolved, dataset.with_white_level(resolved.preprocessing.white_level)


def _step_of(resolved: ResolvedRecipe, own: Recipe) -> str:
    """Say what a step is, and which rate follows, where the recipe (own: as it was written) leaves that open."""
    size, parts, images = resolved.data.batch_size, resolved.trainer.accumulate, resolved.images_a_step
    rate, per = resolved.optimizer.lr, resolved.optimizer.lr_per
    usual = own.data.batch_size * own.trainer.accumulate
    if per is None and parts == 1 and images == usual:
        return ""
    many = ((resolved.num_processes, "processes"), (parts, "parts"))
    shares = "".join(f"{number} {named} of " for number, named in many if number > 1)
    text = f"a step takes {images} images{f' ({shares}{size})' if shares else ''}"
    if per is not None:
        return f"{text}; the learning rate {rate:g} is meant for {per}, so it is {rate * images / per:g}"
    if images == usual:
        return text
    kept = "as asked" if rate != own.optimizer.lr else "as it was; choose another by --lr"
    return f"{text}, {usual} by the recipe; the learning rate is {rate:g}, {kept}"


def open_divided(spec: "Data", settings: Recipe) -> Dataset:
    """Open a data set and divide it as a recipe says; classes, counts and division are said.

    Raises DataError for a set of which its task can learn nothing.
    """
    opened = open_data(spec)
    task_of(settings).check(opened, training=True)
    if not isinstance(spec, str | os.PathLike):
        opened = replace(opened, origin=opened)
    held = opened.with_validation(settings.data.validation, settings.seed)
    dataset = held.with_fraction(settings.data.fraction, settings.seed)
    read = dataset.with_white_level(settings.preprocessing.white_level)
    for name in ("train", "val"):
        check_readable(read.split(name), f"{dataset.spec} ({name})")
    if is_first_process():
        say(_described(opened, dataset, settings))
        for leak in describe_leaks(dataset):
            say(leak, doubtful=True)
    return dataset


def _described(opened: Dataset, dataset: Dataset, settings: Recipe) -> str:
    train, val = dataset.split("train"), dataset.split("val")
    counts = train.targets.counts(len(dataset.class_names)).tolist()
    named = [f"{name} {number}" for name, number in zip(dataset.class_names[:MAX_CLASSES], counts, strict=False)]
    more = "" if len(dataset.class_names) <= MAX_CLASSES else f", and {len(dataset.class_names) - MAX_CLASSES} more"
    asked = settings.data.validation
    if (fold := fold_of(asked)) is not None:
        with_val = ", its own val among them" if opened.undivided() is not opened.split("train") else ""
        origin = f"part {fold[0]} of {fold[1]} by seed {settings.seed}{with_val}"
    elif isinstance(asked, str) or (asked is None and "val" in opened.splits):
        origin = f"its own {asked or 'val'}"
    else:
        origin = f"held back by seed {settings.seed}; choose otherwise by --set data.validation=SHARE"
    share = "" if settings.data.fraction == 1 else f" ({settings.data.fraction:g} of each class)"
    return (
        f"{len(dataset.class_names)} classes ({', '.join(named)}{more}), {len(train)} training images{share}, "
        f"{len(val)} for validation ({origin})"
    )


def resolve(recipe: Recipe, dataset: Dataset, resumed: ResolvedRecipe | None) -> ResolvedRecipe:
    """Fill in what a recipe leaves to a divided data set, to starting weights, and to the launcher."""
    _check_sizes(recipe, dataset)
    refuse_without_srun()
    recipe = choose_start(recipe, resumed)
    _check_choices(recipe)
    device = choose_device(recipe.trainer.accelerator)
    network, preprocessing = _started(recipe, resumed)
    network = task_of(recipe).network(network, recipe.task)
    devices, num_nodes = launched() or _asked_processes(recipe)
    _check_device(device, devices * num_nodes)
    classes, precision = len(dataset.class_names), _precision(recipe, resumed, device)
    known: dict[str, Any] = {
        "data": recipe.data.changed(source=dataset.spec),
        "preprocessing": preprocessing,
        "network": {**dict(network), "num_classes": classes, "in_chans": preprocessing.channels},
        "trainer": {**dict(recipe.trainer), "devices": devices, "num_nodes": num_nodes, "precision": precision},
    }
    return validate(ResolvedRecipe, {**dict(recipe), **known}, f"recipe {recipe.name}")


def read_resolved(path: Path) -> ResolvedRecipe:
    """Read the recipe that a run wrote; one of before there were several processes had one."""
    recipe = load_recipe(path)
    processes = {"devices": recipe.trainer.devices or 1, "num_nodes": recipe.trainer.num_nodes or 1}
    known = {"network": dict(recipe.network), "trainer": {**dict(recipe.trainer), **processes}}
    return validate(ResolvedRecipe, {**dict(recipe), **known}, f"recipe {path}")


def _check_sizes(recipe: Recipe, dataset: Dataset) -> None:
    classes, channels = len(dataset.class_names), recipe.preprocessing.channels
    if recipe.network.num_classes not in (None, classes):
        asked = recipe.network.num_classes
        raise ConfigError(f"network.num_classes is {asked}, but {dataset.spec} has {classes}; leave it out")
    if recipe.network.in_chans not in (None, channels):
        what = f"network.in_chans is {recipe.network.in_chans}, but preprocessing.channels is {channels}"
        raise ConfigError(f"{what}; set only the latter")


def _started(recipe: Recipe, resumed: ResolvedRecipe | None) -> tuple[Architecture, Preprocessing]:
    """Give network and preprocessing as the weights that a run starts from have them, else as the recipe does."""
    if recipe.start.model is None:
        return recipe.network.changed(name=full_name(recipe.network.name)), recipe.preprocessing
    network: Architecture
    if resumed is not None and resumed.start.model == recipe.start.model:
        network, preprocessing = resumed.network, resumed.preprocessing
    else:
        config = load(recipe.start.model, device="cpu").config
        network, preprocessing = config.architecture, config.preprocessing
    kept = {name: getattr(preprocessing, name) for name in ("channels", "mean", "std")}
    own = {"drop_rate": recipe.network.drop_rate, "drop_path_rate": recipe.network.drop_path_rate}
    return network.changed(**own), recipe.preprocessing.changed(**kept)


def _asked_processes(recipe: Recipe) -> tuple[int, int]:
    """Give the processes that a recipe asks for without a launcher. Raises ConfigError where they would never come."""
    devices, num_nodes = recipe.trainer.devices or 1, recipe.trainer.num_nodes or 1
    if num_nodes > 1:
        what = f"trainer.num_nodes is {num_nodes}, but nothing says where the others are"
        raise ConfigError(f"{what}; start this with torchrun or srun")
    cores = num_cores()
    if devices > (most := MOST_PROCESSES_A_CORE * cores):
        raise ConfigError(
            f"trainer.devices is {devices}, but this process may use {count(cores, 'core')}; use {most} at most"
        )
    return devices, num_nodes


def _check_device(device: str, processes: int) -> None:
    """Raise ConfigError where several processes would train on one GPU."""
    if processes > 1 and (":" in device or device == "mps"):
        what = f"trainer.accelerator is {device}, one device, but {processes} processes train"
        raise ConfigError(f"{what}; say cuda, of which each takes its own, or cpu")


def _precision(recipe: Recipe, resumed: ResolvedRecipe | None, device: str) -> str:
    """Choose "auto" by the device, unless a run that goes on has chosen before. Raises ConfigError for f16 on a CPU."""
    precision = recipe.trainer.precision
    if precision == "auto":
        fast = has_fast_bf16(device)
        precision = resumed.trainer.precision if resumed is not None else "bf16" if fast else "f32"
    if precision == "f16" and device == "cpu":
        raise ConfigError("trainer.precision f16 needs a GPU; use bf16 or f32 here")
    return precision


def _check_choices(recipe: Recipe) -> None:
    name = recipe.optimizer.name
    if name not in list_optimizers():
        hint = did_you_mean(name, list_optimizers())
        raise ConfigError(f"there is no optimizer {name!r}; {hint}timm.optim.list_optimizers() lists them")
    for name in recipe.logger:
        if name not in LOGGERS:
            raise ConfigError(f"there is no logger {name!r}; {choose_of(name, LOGGERS)}")
    if recipe.trainer.interactions_every is not None and not task_of(recipe).rewards:
        raise ConfigError(f"trainer.interactions_every: interactions are of one true class, not of {recipe.task.name}")
