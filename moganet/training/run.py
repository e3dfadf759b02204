"""A run from its beginning, or from where it was stopped, to trained weights; in smaller parts where memory lacks."""

import logging
import platform
import signal
import socket
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytorch_lightning as pl
import torch

from moganet.config import ResolvedRecipe, flat
from moganet.data import Dataset
from moganet.data.class_names import shown
from moganet.data.contents import sketch
from moganet.data.loader import Unreadable
from moganet.data.module import ImageDataModule, take
from moganet.errors import ConfigError, DataError, OutputError, TrainingError, WorkerError
from moganet.files import to_json, write_text
from moganet.inference import ModelDescription
from moganet.machine import keep_freed_memory, release_memory
from moganet.models.make_fixtures import NUM_FIXTURES
from moganet.notices import say
from moganet.results import LeftOut
from moganet.tasks.module import TaskModule
from moganet.tasks.recipes import task_of
from moganet.training.assemble import build_module, build_task, build_trainer, try_settings
from moganet.training.callbacks import ModelFiles, RunProgress, Watch, Watched
from moganet.training.checkpoints import Checkpoints, read_step, state_of
from moganet.training.draws import own_draws
from moganet.training.failures import OutOfMemory, explained
from moganet.training.hosts import Statement, met
from moganet.training.interaction_record import InteractionRecord
from moganet.training.lengthen import Length
from moganet.training.origin import read_metrics
from moganet.training.outcome import TrainResult, failures_written
from moganet.training.run_folder import CHECKPOINT_FILE, CURVES_FILE, METRICS_FILE, RECIPE_FILE, clear_folder
from moganet.training.run_log import RunLog
from moganet.training.signals import RunStopped, is_first_process

logger = logging.getLogger(__name__)
LESS_MEMORY = (
    "halve data.batch_size and double trainer.accumulate, or use --set trainer.lean=true, "
    "--set trainer.grad_checkpointing=true or --set trainer.precision=bf16"
)


@dataclass(frozen=True)
class Run:
    """The objects of a run. goes_on: whether it begins at its last.ckpt."""

    task: TaskModule
    module: ImageDataModule
    files: ModelFiles
    progress: RunProgress
    checkpoints: Checkpoints
    trainer: pl.Trainer
    goes_on: bool


@own_draws()
def train_to_end(
    settings: ResolvedRecipe, dataset: Dataset, folder: Path, log: RunLog, *, resumed: bool, watch: Watch | None = None
) -> TrainResult | None:
    """Train, in smaller parts where memory lacks; give what came of it, None on processes other than the first.

    watch: is told each epoch's figure in validation, and ends the run by True.
    """
    while True:
        try:
            return _train(settings, dataset, folder, log, resumed=resumed, watch=watch)
        except OutOfMemory as error:
            settings, resumed = _in_smaller_parts(settings, dataset, error), (folder / CHECKPOINT_FILE).is_file()
        write_text(folder / RECIPE_FILE, settings.to_yaml())
        release_memory()


def _train(
    settings: ResolvedRecipe, dataset: Dataset, folder: Path, log: RunLog, *, resumed: bool, watch: Watch | None
) -> TrainResult | None:
    run = _made(settings, dataset, folder, log, resumed=resumed, watch=watch)
    brought = _statement(settings, run, folder)
    with run.checkpoints.signals.held(run.trainer), met(brought, run.trainer) as place:
        clear_folder(folder, keep=resumed)
        if not resumed and is_first_process():
            write_text(folder / RECIPE_FILE, settings.to_yaml())
        log.begin(folder)
        try:
            with failures_written(folder, but=OutOfMemory):
                _fit(run, place)
        except (ConfigError, DataError):
            if not resumed and run.trainer.global_step == 0:
                log.end()
                clear_folder(folder, keep=False)
            raise
    run.files.finish(run.trainer, run.task)
    unreadable = _gather(run.trainer, run.module)
    if not run.trainer.is_global_zero:
        return None
    _say_unseen(dataset, unreadable)
    from moganet.report.curves import draw_curves  # and matplotlib, for which no step waits

    metrics = read_metrics(folder / METRICS_FILE)
    title = f"{settings.network.name} on {dataset.spec.partition(':')[0]}"
    draw_curves(metrics, folder / CURVES_FILE, title, task_of(settings).monitor)
    return TrainResult(
        out=str(folder),
        epochs=run.trainer.current_epoch,
        steps=run.trainer.global_step,
        seconds=run.progress.elapsed,
        images_per_second=run.progress.images_per_second,
        train_loss=next(reversed(metrics.get("train/loss", {}).values()), None),
        best=run.files.best,
        last=run.files.last or None,
        unreadable=tuple(LeftOut(**one._asdict()) for one in unreadable),
    )


def _made(
    settings: ResolvedRecipe, dataset: Dataset, folder: Path, log: RunLog, *, resumed: bool, watch: Watch | None
) -> Run:
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    task, module = build_task(settings, dataset, resumed=resumed), build_module(settings, dataset)
    fixtures = [sample.image for sample in take(dataset.split("val"), NUM_FIXTURES)]
    description, kind = _describe(settings, dataset), task_of(settings)
    files, progress = ModelFiles(folder, description, fixtures, kind.monitor), RunProgress(kind.metrics, log)
    checkpoints = Checkpoints(folder, description, settings.trainer.save_every, settings.trainer.accumulate)
    purge_step = read_step(folder / CHECKPOINT_FILE) if resumed else None
    if not resumed:
        try_settings(settings, module, task)
    trained = sum(one.numel() for one in task.network.parameters() if one.requires_grad)
    logger.debug("%s trained parameters; %d threads; settings:", f"{trained:,}", torch.get_num_threads())
    for line in settings.to_yaml().splitlines():
        logger.debug("  %s", line)
    callbacks: list[pl.Callback] = [files, progress, checkpoints, Length(files, checkpoints)]
    if (every := settings.trainer.interactions_every) is not None:  # before averages are taken out, like the files
        callbacks.insert(0, InteractionRecord(folder, dataset.split("val"), settings.preprocessing, every))
    if watch is not None:
        callbacks.append(Watched(kind.monitor, watch))
    trainer = build_trainer(settings, folder, callbacks, purge_step=purge_step)
    return Run(task, module, files, progress, checkpoints, trainer, goes_on=resumed)


def _statement(settings: ResolvedRecipe, run: Run, folder: Path) -> Statement:
    """Give what this process brings to a run of several."""
    known = run.checkpoints.description.provenance
    return Statement(
        rank=run.trainer.global_rank,
        host=socket.gethostname(),
        folder=str(folder),
        versions=known["versions"],
        device=run.trainer.strategy.root_device.type,
        settings={name: to_json(value) for name, value in flat(settings.model_dump(mode="json")).items()},
        data=settings.data.source,
        fingerprint=known["fingerprint"],
        state=state_of(folder / CHECKPOINT_FILE) if run.goes_on else None,
    )


_OF_LIGHTNING = (  # warnings that say nothing to a user of this package
    ".*number of training batches.*",  # about the logging interval
    ".*Experiment logs directory.*",  # the folder is the run's own
    ".*your dataloader is not resumable.*",  # it is, by its place
    ".*in eval mode at the start.*",  # what the recipe freezes
    ".*does not have many workers.*",  # the recipe's or the caller's choice
    ".*Grad strides do not match bucket view.*",  # of one channel a group, in channels_last
    ".*LeafSpec.*is deprecated.*",  # Lightning 2.6 of its own call of torch's pytree
)


def _fit(run: Run, place: str) -> None:
    """Go through Lightning's loop; what ends it before its time is said in a line. place: the folder to go on with."""
    trainer, checkpoints = run.trainer, run.checkpoints
    saved = checkpoints.out / CHECKPOINT_FILE
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    how = f"go on with the same command and --out {place} --resume"
    try:
        with warnings.catch_warnings():
            for message in _OF_LIGHTNING:
                warnings.filterwarnings("ignore", message=message)
            goes_on = saved if run.goes_on else None
            trainer.fit(run.task, datamodule=run.module, ckpt_path=goes_on, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise _stopped(checkpoints, how) from None
    except WorkerError as error:
        if checkpoints.signals.received is not None:
            raise _stopped(checkpoints, how) from error
        raise TrainingError(f"{error}; {how}") from None
    except OutputError as error:
        raise OutputError(f"{error}; then {how}") from None
    except TrainingError as error:  # the same steps would end the same way
        raise TrainingError(f"{error}, in a new run; --from {saved} starts it from the state before") from None
    except (OSError, RuntimeError, MemoryError) as error:
        if checkpoints.signals.received is not None:  # whatever else went wrong while it stopped
            raise _stopped(checkpoints, how) from error
        raise explained(error, trainer, checkpoints.out, how) from error


def _stopped(checkpoints: Checkpoints, how: str) -> RunStopped:
    text = f"{checkpoints.kept or 'stopped at once, without a save'}; {how}" if is_first_process() else ""
    return RunStopped(text, 128 + (checkpoints.signals.received or signal.SIGINT))


def _in_smaller_parts(settings: ResolvedRecipe, dataset: Dataset, error: OutOfMemory) -> ResolvedRecipe:
    """Halve the images that go through the network at once, and accumulate twice as many parts for a step."""
    size, parts = settings.data.batch_size, settings.trainer.accumulate
    data, trainer = settings.data.changed(batch_size=size // 2), settings.trainer.changed(accumulate=2 * parts)
    smaller = settings.changed(data=data, trainer=trainer)
    try:
        if size % 2 or settings.num_processes > 1:
            raise DataError
        build_module(smaller, dataset)  # checks that each part of each step has enough images
    except DataError:
        raise TrainingError(f"out of memory with batches of {size} ({error}); {LESS_MEMORY}") from None
    step = f"{2 * parts} of which make a step of the same {settings.images_a_step} images"
    say(f"out of memory with batches of {size}: going on with {size // 2}, {step}", doubtful=True)
    return smaller


def _gather(trainer: pl.Trainer, module: ImageDataModule) -> list[Unreadable]:
    """Collect from all processes which files could not be read."""
    if trainer.world_size == 1:
        return list(module.unreadable)
    lists: list[list[Unreadable]] = [[]] * trainer.world_size
    torch.distributed.all_gather_object(lists, list(module.unreadable))
    return list(dict.fromkeys(one for some in lists for one in some))


def _say_unseen(dataset: Dataset, unreadable: Sequence[Unreadable]) -> None:
    """Say of which classes not one training image could be read."""
    train, left_out, names = dataset.split("train"), {one.file for one in unreadable}, dataset.class_names
    if not left_out:
        return
    read = train.targets.subset([i for i in range(len(train)) if train.name_of(i) not in left_out])
    missing = (train.targets.counts(len(names)) > 0) & (read.counts(len(names)) == 0)
    if unseen := [name for name, lacks in zip(names, missing, strict=True) if lacks]:
        say(f"the network has seen no image of {shown(unseen)}: none of theirs can be read", doubtful=True)


def _describe(recipe: ResolvedRecipe, dataset: Dataset) -> ModelDescription:
    packages = {"moganet": version("moganet"), "torch": torch.__version__, "timm": version("timm")}
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": dataset.spec,
        "fingerprint": dataset.fingerprint(),
        "images": sketch(dataset.split("train").contents()),
        "seed": recipe.seed,
        "versions": {**packages, "python": platform.python_version()},
    }
    network, preprocessing, task = recipe.network, recipe.preprocessing, task_of(recipe).describe(dataset, recipe.task)
    return ModelDescription(architecture=network, preprocessing=preprocessing, task=task, provenance=provenance)
