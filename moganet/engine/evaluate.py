"""`evaluate`: how good a model is on a labelled set, and how fast over the whole of it."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moganet.config import Precision
from moganet.data import Dataset, Split, open_data
from moganet.data.class_names import likeness, shown
from moganet.data.contents import known_again
from moganet.data.loader import Unreadable
from moganet.data.module import evaluation_loader
from moganet.data.preprocess import normalize
from moganet.data.source import concatenate
from moganet.errors import DataError, OutputError
from moganet.files import check_place, to_json, write_text
from moganet.inference import Predictor, load
from moganet.inference.runtimes import Runtime
from moganet.machine import keep_freed_memory
from moganet.models.provenance import source_on_this_machine
from moganet.notices import noted, say
from moganet.tasks.classify.confusion import draw_confusion
from moganet.tasks.classify.measure import measure, say_absent

EVALUATION_FILE = "evaluation.json"
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]


def no_progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    """Pass the items through; the command line gives a function that draws a bar."""
    return items


@noted
def evaluate(
    model: str | Path | Predictor,
    data: str | None = None,
    split: str = "test",
    *,
    out: str | Path | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Measure a model on a split of a data set.

    data: SOURCE[:PATH] or a path; None takes the set that the model was trained on.
    split: "test", "val", "train" or "all". Where a set has no "test", "val" is taken; `split` in the result says so.
    batch_size: images at a time; None is what suits the device.
    workers: processes that read images; None is one a core.
    out: a folder for evaluation.json and confusion.png; for a run's folder the default is in that folder.
    Gives fractions (`top1`, `top5`, `ece`, `interval`), the mean cross-entropy `loss`, `images_per_second` (decoding
    included), `per_class` (None where a class has no images), `confusion` (rows are the truth), `unreadable` files,
    which count nowhere, and `ece_by_chance`: what a perfectly calibrated model would show on so many images.
    Raises DataError, WeightsError or, before anything is measured, OutputError.
    """
    if out is not None:
        check_place(Path(out) / EVALUATION_FILE, "--out")
    predictor = model if isinstance(model, Predictor) else load(model, runtime, precision)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    dataset, is_home = open_for(predictor, data)
    split, images = choose_split(dataset, split)
    order = match_classes(dataset.class_names, predictor.class_names)
    start = time.perf_counter()
    logits, labels, unreadable = collect_logits(
        predictor, images, batch_size or default_batch(predictor), workers, progress
    )
    seconds = time.perf_counter() - start
    if not len(labels):
        first = unreadable[0].reason if unreadable else "it has none"
        raise DataError(f"none of the {len(images)} images of {dataset.spec} ({split}) can be read: {first}")
    result = {
        "data": dataset.spec,
        "split": split,
        "num_images": len(labels),
        **measure(logits, order[labels], predictor.class_names),
    }
    say_absent(result["per_class"], split)
    result |= {
        "images_per_second": len(labels) / seconds,
        "seconds": seconds,
        "unreadable": [bad._asdict() for bad in unreadable],
    }
    result |= {
        "model": predictor.name_of_model,
        "sha256": predictor.config.sha256,
        "runtime": predictor.runtime,
        "precision": predictor.precision,
        "untrained": not predictor.trained,
    }
    if out is None and not isinstance(model, Predictor) and Path(model).is_dir():
        source, _, place = dataset.spec.partition(":")
        other = "" if is_home else f"{source}-{Path(place).stem[:40]}-" if place else f"{source}-"
        out = Path(model) / f"evaluation-{other}{split}"
    if out is not None:
        try:
            _write(result, Path(out), predictor)
        except OutputError as error:  # what was measured is worth more than its files
            say(f"{error} by --out; the figures are kept nowhere else", doubtful=True)
            result["unwritten"] = str(error)
    return result


def default_batch(predictor: Predictor) -> int:
    """Give the images at a time that suit the device: on a CPU small batches, so that decoding and network overlap."""
    return 128 if predictor.device.type == "cuda" else 32


def open_for(predictor: Predictor, data: str | None) -> tuple[Dataset, bool]:
    """Open a data set, and say whether it is the one that the model was trained on, whose held-back images are "val".

    It is known by the contents of its images, wherever they lie. Other data is given whole, as it divides itself; how
    many of its images were trained on is said.
    Raises DataError where it is that one but has changed since: what was held back can no longer be told.
    """
    provenance = predictor.config.provenance
    recipe = provenance.get("recipe") or {}
    trained_on, seed = {"source": None, "validation": None, **(recipe.get("data") or {})}, recipe.get("seed", 0)
    if data is None and trained_on["source"] is None:
        raise DataError("this model does not say what it was trained on; give --data SOURCE[:PATH]")
    source = source_on_this_machine(trained_on["source"], predictor.name_of_model) if data is None else data
    dataset = open_data(source).with_white_level(predictor.config.preprocessing.white_level)
    if provenance.get("fingerprint") is None:
        return dataset, False
    divided, at_home = dataset, data is None or _is_home(dataset, trained_on["source"], predictor)
    if dataset.class_names == predictor.class_names:
        with suppress(DataError, TypeError, ValueError, KeyError):  # of a file of anyone's making
            divided = dataset.with_validation(trained_on["validation"], seed)
            divided = divided.with_fraction(trained_on.get("fraction", 1.0), seed)
    undivided = "val" not in dataset.splits and trained_on["validation"] != "test"
    match divided.recognised(provenance["fingerprint"]):
        case "contents":
            if data is not None and undivided and "test" not in dataset.splits:  # which is taken otherwise
                say(
                    f"{dataset.spec} holds the images that this model was trained on: as val are taken the "
                    f"{len(divided.splits['val']):,} that were held back; --split all takes {_size(divided, 'all'):,}"
                )
            return divided, True
        case "names":
            if undivided:
                so = "by these a part is held back" if at_home else "they may be them"
                say(
                    f"this model is from before the contents of images were remembered: {dataset.spec} has the names "
                    f"of those it was trained on, so that {so}",
                    doubtful=True,
                )
            return (divided if at_home else dataset), False
    if data is None and undivided:
        raise DataError(
            f"{dataset.spec} has changed since the model was trained (in the contents or the order of its images), so "
            "that the images held back can't be told from those trained on; restore it, or give --data, which is "
            "measured as a whole"
        )
    _say_trained_on(dataset, str(provenance.get("images", "")), at_home=at_home)
    return dataset, False


def _is_home(dataset: Dataset, source: str, predictor: Predictor) -> bool:
    """Tell whether a set lies where the model was trained."""
    with suppress(DataError):
        return dataset.spec in (source, source_on_this_machine(source, predictor.name_of_model))
    return False


def _say_trained_on(dataset: Dataset, sketched: str, *, at_home: bool) -> None:
    """Say of which images that measure it is known that the model was trained on them, or may have been."""
    if at_home and not sketched:
        what = "has changed since the model was trained: what is measured may have been trained on, and flatter then"
        say(f"{dataset.spec} {what}", doubtful=True)
    for name, split in dataset.splits.items() if sketched else ():
        known, told = known_again(sketched, split.contents()) if name != "train" or len(dataset.splits) == 1 else (0, 0)
        if known:
            of = f"{told:,}" if told == len(split) else f"{told:,} that can be told among the {len(split):,}"
            what = f"the model was trained on {known:,} of {of} images of {dataset.spec} ({name})"
            say(f"{what}, by their contents; figures of these flatter", doubtful=True)


def choose_split(dataset: Dataset, name: str) -> tuple[str, Split]:
    """Give the asked split; for "test" the nearest thing that the set has: "val", or all of an undivided set."""
    if name == "test" and name not in dataset.splits:
        name = "val" if "val" in dataset.splits else "all"
        say(f"{dataset.spec} has no test split: {name} is taken ({_size(dataset, name):,} images); choose with --split")
    if name == "all":
        return "all", concatenate(list(dataset.distinct().values()))
    return name, dataset.split(name)


def _size(dataset: Dataset, name: str) -> int:
    return sum(map(len, dataset.distinct().values())) if name == "all" else len(dataset.splits[name])


def match_classes(names: tuple[str, ...], known: tuple[str, ...]) -> Tensor:
    """Give the model's class index for each of the data set's, by name."""
    missing = [name for name in names if name not in known]
    if missing:
        alike = {likeness(name): name for name in known}
        twins = [f"{name!a} looks like {alike[likeness(name)]!a}" for name in missing if likeness(name) in alike]
        raise DataError(
            f"the data set has classes that the model does not know: {shown(missing)}; the model knows "
            f"{shown(known, 10)}" + (f" ({twins[0]}; rename it)" if twins else "")
        )
    return torch.tensor([known.index(name) for name in names])


def collect_logits(
    predictor: Predictor, split: Split, batch_size: int, workers: int | None, progress: Progress
) -> tuple[Tensor, Tensor, list[Unreadable]]:
    """Give the logits (N, classes) and the data set's labels (N,) of the readable images, in order, and the others."""
    preprocessing = predictor.config.preprocessing
    loader = evaluation_loader(split, preprocessing, batch_size, workers)
    logits, labels, unreadable = [], [], []
    for batch in progress(loader, len(loader), "evaluate"):
        unreadable += batch.unreadable
        if len(batch.images):
            logits.append(predictor.logits(normalize(batch.images, preprocessing)))
            labels.append(batch.labels)
    if not labels:
        return torch.empty(0, len(predictor.class_names)), torch.empty(0, dtype=torch.long), unreadable
    return torch.cat(logits), torch.cat(labels), unreadable


def _write(result: dict[str, Any], folder: Path, predictor: Predictor) -> None:
    write_text(folder / EVALUATION_FILE, to_json(result, indent=1))
    matrix = torch.tensor(result["confusion"]).numpy()
    title = f"{100 * result['top1']:.2f} % of {result['num_images']} {result['split']} images right"
    draw_confusion(matrix, predictor.class_names, folder / "confusion.png", title)
    result["out"] = str(folder)
