"""`train`: a recipe and a data set become a run's folder with trained weights."""

import os
import platform
import signal
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch

from moganet.config import Recipe, load_recipe
from moganet.data import Dataset
from moganet.data.class_names import shown
from moganet.data.contents import sketch
from moganet.data.loader import Unreadable, refuse_to_begin_again
from moganet.data.module import ImageDataModule, take
from moganet.engine.report import write_report
from moganet.errors import ConfigError, DataError, OutputError, TrainingError, WorkerError
from moganet.files import to_json, write_text
from moganet.inference import ModelDescription
from moganet.machine import keep_freed_memory, release_memory
from moganet.models.model_file import NUM_FIXTURES
from moganet.notices import heard, noted, say
from moganet.report.curves import draw_curves, read_metrics
from moganet.report.grids import draw_images
from moganet.tasks.classify.training import Classification
from moganet.training.assemble import build_module, build_task, build_trainer, resolve
from moganet.training.callbacks import ModelFiles, RunProgress
from moganet.training.checkpoints import (
    CHECKPOINT_FILE,
    Checkpoints,
    RunStopped,
    is_first_process,
    read_step,
)
from moganet.training.division import open_divided
from moganet.training.failures import OutOfMemory, explained
from moganet.training.interaction_record import InteractionRecord
from moganet.training.run_folder import (
    RECIPE_FILE,
    RESULT_FILE,
    claim_folder,
    clear_folder,
    own_folder,
    read_result,
    read_run,
    refuse_full,
    same_run,
    say_inside,
)
from moganet.training.trial import try_settings
from moganet.training.tune import find_batch_size

REPORT_SWITCH = "MOGANET_REPORT"  # "off" in the environment leaves the page to `moganet report`
PREVIEW_IMAGES = 40


@noted
def train(
    recipe: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    find_batch: bool = False,
) -> dict[str, Any]:
    """Train a network and leave a run's folder.

    recipe: the name of one that ships, or a YAML file. data: SOURCE[:PATH] or a path, in the recipe's place.
    overrides: dotted keys to values, or "key=value" texts. out: the run's folder itself (default: runs/RECIPE-N).
    start: a MODEL whose weights to start from, or "none" for fresh ones where the recipe would start from others.
    find_batch: let Lightning's finder choose data.batch_size first; the choice is written into the run's recipe.
    resume: go on from the last save of the run in `out`, to the same weights as if it had never stopped; without one
        begin; a finished run is left as it is.
    The folder holds recipe.yaml, metrics.csv, tensorboard/, last.ckpt, best.safetensors, last.safetensors, curves.png
    and, at the end, report.html (unless the recipe's `report` is false) and result.json,
    which is what is given back (nothing on processes other than the first).
    Raises ConfigError, DataError, WeightsError or OutputError before anything is written; TrainingError for a run that
    can't go on; KeyboardInterrupt after it has saved what there is.
    """
    refuse_to_begin_again()
    if resume and out is None:
        raise ConfigError("--resume needs the run's folder; say which with --out")
    if resume and overwrite:
        raise ConfigError("--resume goes on with a run, --overwrite removes it; give one of them")
    if out is None:
        settings, dataset = prepare(recipe, data, overrides, start)
        folder = claim_folder(settings.name)
        with own_folder(folder, claimed=True):
            return _begin(settings, dataset, folder, find_batch=find_batch)
    folder = Path(out)
    with own_folder(folder):
        old = read_run(folder) if resume else None
        if old is None:
            refuse_full(folder, overwrite=overwrite or resume)
        settings, dataset = prepare(recipe, data, overrides, start, resumed=old)
        if old is None:
            return _begin(settings, dataset, folder, find_batch=find_batch)
        settings = same_run(folder, old, settings, dataset, found_batch=find_batch)
        if (folder / RESULT_FILE).is_file():
            return read_result(folder) if is_first_process() else {}
        return _train(settings, dataset, folder, resumed=True)


def _begin(settings: Recipe, dataset: Dataset, folder: Path, *, find_batch: bool) -> dict[str, Any]:
    say_inside(folder, dataset)
    if find_batch:
        settings = find_batch_size(settings, dataset)
    return _train(settings, dataset, folder, resumed=False)


def _train(settings: Recipe, dataset: Dataset, folder: Path, *, resumed: bool) -> dict[str, Any]:
    """Train to the end, in smaller parts where memory lacks."""
    while True:
        try:
            return _run(settings, dataset, folder, resumed=resumed)
        except OutOfMemory as error:
            settings, resumed = _in_smaller_parts(settings, dataset, error), (folder / CHECKPOINT_FILE).is_file()
        write_text(folder / RECIPE_FILE, settings.to_yaml())
        release_memory()


def _run(settings: Recipe, dataset: Dataset, folder: Path, *, resumed: bool) -> dict[str, Any]:
    """Train to the end, from the beginning or from last.ckpt, and write what is left to write."""
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    task, module = build_task(settings, dataset, resumed=resumed), build_module(settings, dataset)
    fixtures = [sample.image for sample in take(dataset.split("val"), NUM_FIXTURES)]
    description = _describe(settings, dataset)
    files, progress = ModelFiles(folder, description, fixtures), RunProgress()
    checkpoints = Checkpoints(folder, description, settings.trainer.save_every, settings.trainer.accumulate)
    purge_step = read_step(folder / CHECKPOINT_FILE) if resumed else None
    if not resumed:
        try_settings(settings, module, task)
    callbacks: list[pl.Callback] = [files, progress, checkpoints]
    if settings.trainer.interactions_every is not None:  # before the averages are taken out again, like the files
        record = InteractionRecord(
            folder, dataset.split("val"), settings.preprocessing, settings.trainer.interactions_every
        )
        callbacks.insert(0, record)
    trainer = build_trainer(settings, folder, callbacks, purge_step=purge_step)
    clear_folder(folder, keep=resumed)
    if not resumed and is_first_process():
        write_text(folder / RECIPE_FILE, settings.to_yaml())
    try:
        with checkpoints.holding_signals(trainer):
            _fit(trainer, task, module, checkpoints, folder / CHECKPOINT_FILE if resumed else None)
    except (ConfigError, DataError):
        if not resumed and trainer.global_step == 0:
            clear_folder(folder, keep=False)
        raise
    files.finish(trainer, task)
    unreadable = _gather(trainer, module)
    if not trainer.is_global_zero:
        return {}
    _say_unseen(dataset, unreadable)
    title = f"{settings.network.name} on {dataset.spec.partition(':')[0]}"
    metrics = read_metrics(folder / "metrics.csv")
    draw_curves(metrics, folder / "curves.png", title)
    result = {
        "out": str(folder),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": progress.elapsed,
        "images_per_second": progress.images_per_second,
        "train_loss": next(reversed(metrics.get("train/loss", {}).values()), None),
        "best": files.best,
        "last": files.last or None,
        "unreadable": [one._asdict() for one in unreadable],
    }
    if settings.report and os.environ.get(REPORT_SWITCH) != "off":
        result["report"] = _report(folder, dataset, settings.data.workers, result)
    result["notes"] = heard()
    write_text(folder / RESULT_FILE, to_json(result))
    return result


def _report(folder: Path, dataset: Dataset, workers: int | None, result: dict[str, Any]) -> str | None:
    """Write the run's page, and give its path; None where that can't be done."""
    try:
        return str(write_report(folder, dataset.spec, workers=workers, result=result)["report"])
    except Exception as error:  # whatever it is: a run of days must not be lost to its page
        say(f"no report was written ({error}); `moganet report {folder}` tries again", doubtful=True)
        return None


def _say_unseen(dataset: Dataset, unreadable: Sequence[Unreadable]) -> None:
    """Say of which classes not one training image could be read."""
    train, left_out = dataset.split("train"), {one.file for one in unreadable}
    if not left_out:
        return
    labels = train.labels.tolist()
    seen = {labels[i] for i in range(len(train)) if train.name_of(i) not in left_out}
    if unseen := [dataset.class_names[label] for label in sorted(set(labels) - seen)]:
        say(f"the network has seen no image of {shown(unseen)}: none of theirs can be read", doubtful=True)


def _gather(trainer: pl.Trainer, module: ImageDataModule) -> list[Unreadable]:
    """Collect from all processes which files could not be read."""
    if trainer.world_size == 1:
        return list(module.unreadable)
    lists: list[list[Unreadable]] = [[]] * trainer.world_size
    torch.distributed.all_gather_object(lists, list(module.unreadable))
    return list(dict.fromkeys(one for some in lists for one in some))


def prepare(
    recipe: str | Path,
    data: str | None,
    overrides: Mapping[str, Any] | Sequence[str],
    start: str | Path | None = None,
    resumed: Recipe | None = None,
) -> tuple[Recipe, Dataset]:
    """Read a recipe and open its data, and resolve the one by the other (and by the run that goes on)."""
    settings = load_recipe(recipe, overrides)
    if start is not None:
        settings = settings.changed(start=settings.start.changed(model=str(start)))
    dataset = open_divided(settings.data.source if data is None else data, settings)
    resolved = resolve(settings, dataset, resumed)
    return resolved, dataset.with_white_level(resolved.preprocessing.white_level)


@noted
def preview(
    recipe: str | Path,
    picture: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    start: str | Path | None = None,
) -> dict[str, Any]:
    """Draw what the network would see of its first batch, augmented, with its labels; train nothing."""
    settings, dataset = prepare(recipe, data, overrides, start)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    module = build_module(settings, dataset)
    batch = module.augmented(next(iter(module.train_dataloader())))
    images, names = batch.images[:PREVIEW_IMAGES], []
    for target in batch.labels[:PREVIEW_IMAGES]:
        shares = {int(target): 1.0} if target.ndim == 0 else {int(i): float(target[i]) for i in target.nonzero()}
        named = [f"{dataset.class_names[i]}" + ("" if share == 1 else f" {share:.2f}") for i, share in shares.items()]
        names.append("\n".join(named))
    mean, std = (torch.tensor(getattr(settings.preprocessing, name)).view(-1, 1, 1) for name in ("mean", "std"))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    draw_images(list(pixels), names, Path(picture), f"{settings.name}: what the network sees")
    return {"preview": str(picture), "images": len(pixels), "size": list(settings.preprocessing.size)}


def _in_smaller_parts(settings: Recipe, dataset: Dataset, error: OutOfMemory) -> Recipe:
    """Halve the images that go through the network at once, and accumulate twice as many parts for a step."""
    size, parts = settings.data.batch_size, settings.trainer.accumulate
    data = settings.data.changed(batch_size=size // 2)
    trainer = settings.trainer.changed(accumulate=2 * parts)
    smaller = settings.changed(data=data, trainer=trainer)
    try:
        if size % 2 or settings.num_processes > 1:
            raise DataError
        build_module(smaller, dataset)  # checks that each part of each step has enough images
    except DataError:
        raise TrainingError(f"out of memory with batches of {size} ({error}); {_LESS_MEMORY}") from None
    say(
        f"out of memory with batches of {size}: going on with {size // 2}, {2 * parts} of which make a step of the "
        f"same {settings.images_a_step} images",
        doubtful=True,
    )
    return smaller


_LESS_MEMORY = (
    "halve data.batch_size and double trainer.accumulate, or use --set trainer.grad_checkpointing=true or "
    "--set trainer.precision=bf16"
)


def _fit(
    trainer: pl.Trainer, task: Classification, module: ImageDataModule, checkpoints: Checkpoints, goes_on: Path | None
) -> None:
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    how = f"go on with the same command and --out {checkpoints.out} --resume"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*number of training batches.*")  # about the logging interval
            warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")  # the folder is the run's own
            warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # it is, by its place
            warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode.*")  # what start.freeze keeps
            trainer.fit(task, datamodule=module, ckpt_path=goes_on, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise _stopped(checkpoints, how) from None
    except WorkerError as error:
        if checkpoints.signal is not None:
            raise _stopped(checkpoints, how) from error
        raise TrainingError(f"{error}; {how}") from None
    except OutputError as error:
        raise OutputError(f"{error}; then {how}") from None
    except TrainingError as error:  # the same steps would end the same way
        before = checkpoints.out / CHECKPOINT_FILE
        raise TrainingError(f"{error}, in a new run; --from {before} starts it from the state before") from None
    except (OSError, RuntimeError, MemoryError) as error:
        if checkpoints.signal is not None:  # whatever else went wrong while it stopped
            raise _stopped(checkpoints, how) from error
        raise explained(error, trainer, checkpoints.out, how) from error


def _stopped(checkpoints: Checkpoints, how: str) -> RunStopped:
    kept = checkpoints.kept or "stopped at once, without a save"
    return RunStopped(f"{kept}; {how}" if is_first_process() else "", 128 + (checkpoints.signal or signal.SIGINT))


def _describe(recipe: Recipe, dataset: Dataset) -> ModelDescription:
    packages = {"moganet": version("moganet"), "torch": torch.__version__, "timm": timm.__version__}
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": dataset.spec,
        "fingerprint": dataset.fingerprint(),
        "images": sketch(dataset.split("train").contents()),
        "seed": recipe.seed,
        "versions": {**packages, "python": platform.python_version()},
    }
    return ModelDescription(
        architecture=recipe.network,
        preprocessing=recipe.preprocessing,
        class_names=dataset.class_names,
        provenance=provenance,
    )
