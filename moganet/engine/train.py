"""`train`: a recipe and a data set become a run's folder with trained weights."""

import logging
import platform
import shutil
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import timm
import torch

from moganet.config import Recipe, load_recipe
from moganet.data import Dataset, open_data
from moganet.data.module import ImageDataModule, take
from moganet.engine.assemble import build_module, build_task, build_trainer, resolve
from moganet.engine.callbacks import ModelFiles, RunProgress
from moganet.engine.memory import keep_freed_memory
from moganet.engine.tune import find_batch_size, find_learning_rate
from moganet.errors import ConfigError, OutputError, TrainingError
from moganet.files import write_text
from moganet.inference import ModelDescription
from moganet.inference.model_file import NUM_FIXTURES
from moganet.report.curves import draw_curves, read_metrics
from moganet.report.grids import draw_images
from moganet.tasks.classify import Classification

logger = logging.getLogger(__name__)
RECIPE_FILE = "recipe.yaml"
# What a run leaves, and --overwrite removes.
RUN_OUTPUTS = (
    *(RECIPE_FILE, "metrics.csv", "hparams.yaml", "tensorboard", "curves.png"),
    *("last.ckpt", "best.safetensors", "last.safetensors", "evaluation-*"),
)
PREVIEW_IMAGES = 40


def train(
    recipe: str | Path,
    data: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
    overwrite: bool = False,
    find_lr: bool = False,
    find_batch: bool = False,
) -> dict[str, Any]:
    """Train a network and leave a run's folder.

    recipe: the name of one that ships, or a YAML file. data: SOURCE[:PATH] or a path, in the recipe's place.
    overrides: dotted keys to values, or "key=value" texts. out: the run's folder itself (default: runs/RECIPE-N).
    start: a MODEL whose weights to start from. find_lr, find_batch: let Lightning's finders choose optimizer.lr and
        data.batch_size first; the choice is written into the run's recipe.
    The folder holds recipe.yaml, metrics.csv, tensorboard/, last.ckpt, best.safetensors, last.safetensors, curves.png.
    Raises ConfigError, DataError, WeightsError or OutputError before anything is written; TrainingError for a loss
    that is not finite; KeyboardInterrupt after it has saved what there is.
    """
    settings, dataset = prepare(recipe, data, overrides, start)
    folder = _choose_folder(settings, out, overwrite)
    if find_batch:
        settings = find_batch_size(settings, dataset)
    if find_lr:
        settings = find_learning_rate(settings, dataset)
    pl.seed_everything(settings.seed, workers=True, verbose=False)
    task, module = build_task(settings, dataset), build_module(settings, dataset)
    fixtures = [sample.image for sample in take(dataset.split("val"), NUM_FIXTURES)]
    files, progress = ModelFiles(folder, _describe(settings, dataset), fixtures), RunProgress()
    trainer = build_trainer(settings, folder, [files, progress])
    _make_folder(folder)
    write_text(folder / RECIPE_FILE, settings.to_yaml())
    start_time = time.perf_counter()
    _fit(trainer, task, module, files)
    files.finish(trainer, task)
    title = f"{settings.network.name} on {dataset.spec.partition(':')[0]}"
    draw_curves(read_metrics(folder / "metrics.csv"), folder / "curves.png", title)
    for unreadable in module.unreadable:
        logger.warning("left out: %s", unreadable.reason)
    return {
        "out": str(folder),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "seconds": time.perf_counter() - start_time,
        "images_per_second": progress.images_per_second,
        "train_loss": _metric(trainer, "train/loss"),
        "best": files.best,
        "last": files.last or None,
        "unreadable": [unreadable._asdict() for unreadable in module.unreadable],
    }


def prepare(
    recipe: str | Path, data: str | None, overrides: Mapping[str, Any] | Sequence[str], start: str | Path | None = None
) -> tuple[Recipe, Dataset]:
    """Read a recipe and open its data, and resolve the one by the other."""
    settings = load_recipe(recipe, overrides)
    if start is not None:
        settings = settings.model_copy(update={"start": settings.start.model_copy(update={"model": str(start)})})
    dataset = open_data(data or settings.data.source).with_validation(settings.data.validation, settings.seed)
    for note in dataset.notes:
        logger.warning("%s", note)
    return resolve(settings, dataset), dataset


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


def _choose_folder(recipe: Recipe, out: str | Path | None, overwrite: bool) -> Path:
    if out is None:
        number = 1
        while (Path("runs") / f"{recipe.name}-{number}").exists():
            number += 1
        out = Path("runs") / f"{recipe.name}-{number}"
    folder = Path(out)
    if (folder / RECIPE_FILE).exists() and not overwrite:
        raise ConfigError(f"{folder} already holds a run; choose another --out, or --overwrite it")
    return folder


def _make_folder(folder: Path) -> None:
    """Make the run's folder, without what an older run left: nothing of it may be taken for the new one's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in [path for pattern in RUN_OUTPUTS for path in folder.glob(pattern)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise OutputError(f"can't make the folder {folder}: {error.strerror}; choose another --out") from None


def _metric(trainer: pl.Trainer, name: str) -> float | None:
    value = trainer.callback_metrics.get(name)
    return None if value is None else float(value)


def _fit(trainer: pl.Trainer, task: Classification, module: ImageDataModule, files: ModelFiles) -> None:
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    handler = signal.getsignal(signal.SIGINT)  # Lightning leaves it ignored after a Ctrl-C
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # sets in memory need none
            warnings.filterwarnings("ignore", message=".*number of training batches.*")  # about the logging interval
            warnings.filterwarnings("ignore", message=".*Experiment logs directory.*")  # the folder is the run's own
            trainer.fit(task, datamodule=module)
    except TrainingError as error:
        raise TrainingError(f"{error}; {files.out / 'last.ckpt'} holds the state from before") from None
    except SystemExit:  # Lightning's answer to Ctrl-C
        epoch = files.last.get("epoch")
        kept = f"last.safetensors holds the weights of epoch {epoch:.0f}" if epoch else "no epoch had ended"
        raise KeyboardInterrupt(f"stopped; {kept} ({files.out})") from None
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def _describe(recipe: Recipe, dataset: Dataset) -> ModelDescription:
    packages = {"moganet": version("moganet"), "torch": torch.__version__, "timm": timm.__version__}
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "data": dataset.spec,
        "fingerprint": dataset.fingerprint(),
        "seed": recipe.seed,
        "versions": {**packages, "python": platform.python_version()},
    }
    return ModelDescription(
        architecture=recipe.network,
        preprocessing=recipe.preprocessing,
        class_names=dataset.class_names,
        provenance=provenance,
    )
