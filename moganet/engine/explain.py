"""`explain`: why a model decides as it does, as maps over its images, and how far they can be trusted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from moganet.config import Precision
from moganet.data.listing import list_files
from moganet.data.preprocess import preprocess
from moganet.data.read import read_pixels
from moganet.data.videos import parse_every
from moganet.engine.explaining import Asked, Explained, Explaining
from moganet.errors import ConfigError, DataError, WeightsError, choose_of, did_you_mean
from moganet.explanations import METHODS, check_options
from moganet.files import check_place, free_stem, to_json, write_text
from moganet.inference import Predictor
from moganet.inference.in_python import as_images
from moganet.inference.load import as_predictor
from moganet.inference.regions import check_region, focused
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.machine import has_fast_bf16, keep_freed_memory
from moganet.models.choices import Choices
from moganet.notices import noted, say
from moganet.processors import threaded
from moganet.progress import Progress, no_progress
from moganet.report.explained import write_explained
from moganet.results import LeftOut, Result

RESULT_FILE = "explanations.json"


class Explanations(Result):
    """Maps by image and method, files that can't be read, and the folder, file and page that hold them."""

    images: tuple[Explained, ...]
    unreadable: tuple[LeftOut, ...]
    out: str | None = None
    file: str | None = None
    page: str | None = None


@noted
@threaded
def explain(
    model: str | Path | Predictor,
    images: Any,
    method: str | Sequence[str] = "lime",
    *,
    target: str | int | None = None,
    region: Sequence[float] | None = None,
    compare: bool = False,
    score: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    runtime: Runtime = "auto",
    every: str | None = None,
    precision: Precision | Literal["auto"] = "auto",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Explanations:
    """Explain images by one or several methods, and go on past those that can't be read.

    images: as the files of `predict`, with `every` for videos; or PIL images and arrays.
    target: a class's name or number; None is the likeliest. region: of a segmenter, the part of the image whose class
    is explained: left, top, width and height as shares of its sides; None is all that is answered to be of the class.
    compare: one picture an image with the methods side by side; all that the model can do, where `method` is left at
    "lime". score: insertion and deletion areas, and how far the map stays when the weights are drawn anew. precision:
    as in `load`; "auto" is f32, but for LIME's samples, which are computed in bf16 where the device has units for it,
    unless the model is a Predictor or an exported file. device, threads: as in `load`.
    out: a folder for pictures, maps (.npz), explanations.json and a page of all (explanations.html); what an earlier
    call wrote there stays, and new names are numbered, unless overwrite is said.
    options: the methods' own: samples (a number or "auto") and superpixels of lime, stage of gradcam, steps of
    integrated-gradients, copies and noise of saliency, window of occlusion, batch_size; and choices as in `load`.
    Gives `images` ({"file", "method", "target", "probability", "map": (H, W) array, and what the method found}) and
    `unreadable`. Raises ConfigError, DataError or WeightsError.
    """
    folder = Path(out) if out is not None else None
    check_region(region)
    if folder is not None:
        check_place(folder / RESULT_FILE, "--out")
    choices = {name: options.pop(name) for name in vars(Choices()) if name in options}
    predictor = as_predictor(model, runtime, "f32" if precision == "auto" else precision, device, **choices)
    names = _choose_methods(predictor, [method] if isinstance(method, str) else list(method), compare)
    check_options(names, options)
    how = {**options, "seed": seed, "progress": progress}
    chosen = precision == "auto" and "lime" in names and not isinstance(model, Predictor)
    samples = _for_samples(predictor, runtime) if chosen else predictor
    explaining = Explaining(predictor, names, how, score, compare, folder, overwrite, samples)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    sources, unreadable = _collect(images, every)
    results: list[Explained] = []
    bar = progress if "lime" not in names else no_progress  # LIME draws its own, and two are too many
    steps = bar([1] * len(sources), len(sources), "explain")  # the numbers that such a bar adds up
    for number, ((name, source), _) in enumerate(zip(sources, steps, strict=True), 1):
        try:
            one = explaining
            if predictor.task.by_image:
                asked = None if target is None else find_class(target, predictor.class_names)
                part, own_class = focused(predictor, source, asked, region)
                one = replace(explaining, predictor=part, samples=part, target=own_class)
            results += one.of(_ask(one.predictor, name, source, one.target or target), number)
        except DataError as error:
            unreadable.append(LeftOut(file=name, reason=str(error)))
    result = Explanations(images=tuple(results), unreadable=tuple(unreadable))
    return result if folder is None or not results else _keep(explaining, result)


def _keep(explaining: Explaining, result: Explanations) -> Explanations:
    """Write what was found beside the pictures; what an earlier call wrote stays unless it is overwritten."""
    folder, stem = explaining.folder, Path(RESULT_FILE).stem
    assert folder is not None
    with free_stem(folder, stem, [".json", ".html"], overwrite=explaining.overwrite) as name:
        file, page = folder / f"{name}.json", folder / f"{name}.html"
        result = result.changed(out=str(folder), file=str(file), page=str(page))
        write_text(file, to_json(result.plain(), indent=1))
        left_out = [f"{one.file}: {one.reason}" for one in result.unreadable]
        note = max(explaining.legend, key=len)
        write_explained(explaining.cards, page, explaining.predictor.name_of_model, note, left_out)
    if name != stem:
        say(f"{folder} holds an earlier call's explanations; these are {file.name}, or say --overwrite")
    return result


def _choose_methods(predictor: Predictor, names: list[str], compare: bool) -> list[str]:
    """Give the methods to use. Raises ConfigError for one that does not exist or can't explain this model."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        named = unknown[0] if unknown else ""
        raise ConfigError(f"there is no method {named!r}; {choose_of(named, METHODS)}")
    able = [name for name in METHODS if _can(predictor, name)]
    if compare and names == ["lime"]:
        return able
    if barred := next((name for name in names if name not in able), None):
        if predictor.has_module:
            why = f"{barred} shows the branches of a MogaNet that classifies, and {predictor.name_of_model} is none"
            raise ConfigError(f"{why}; use {' or '.join(able)}")
        why = f"{barred} needs the torch module, and {predictor.name_of_model} is an exported file, which holds none"
        raise ConfigError(f"{why}; use {' or '.join(able)}, or give the model that it was exported from")
    return list(dict.fromkeys(names))


def _can(predictor: Predictor, name: str) -> bool:
    """Tell whether a method can explain a model."""
    method = METHODS[name]
    if not predictor.has_module:
        return not method.needs_module
    return not method.needs_branches or (not predictor.task.by_image and hasattr(predictor.model, "forward_orders"))


def _collect(images: Any, every: str | None) -> tuple[list[tuple[str, Any]], list[LeftOut]]:
    items = as_images(images)
    if not items:
        raise DataError("nothing to explain; give images, folders, patterns or '-'")
    if all(isinstance(item, str | Path) for item in items):
        paths, unreadable = list_files(items, None if every is None else parse_every(every))  # type: ignore[arg-type]
        if not paths and not unreadable:
            raise DataError("nothing to explain: the list on standard input is empty; give a path a line")
        return [(str(path), path) for path in paths], unreadable
    return [(f"image {number}", item) for number, item in enumerate(items, 1)], []


def _ask(predictor: Predictor, name: str, source: Any, target: str | int | None) -> Asked:
    if not predictor.class_names:
        raise WeightsError(f"{predictor.name_of_model} has no head, so there is no class to explain")
    own = predictor.config.preprocessing
    pixels = read_pixels(source, own.channels, own.white_level)
    x = preprocess(torch.from_numpy(pixels), own)
    probabilities = predictor.probabilities(predictor.logits(x[None]))[0]
    index = int(probabilities.argmax()) if target is None else find_class(target, predictor.class_names)
    return Asked(name, pixels, x, index, float(probabilities[index]))


def find_class(target: str | int, names: Sequence[str]) -> int:
    """Give a class's index by its name or number. Raises ConfigError for one that the model does not know."""
    if str(target) in names:
        return names.index(str(target))
    if str(target).isdigit() and int(target) < len(names):
        return int(target)
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    what = f"the model knows no class {str(target)!r}; {did_you_mean(target, names)}"
    raise ConfigError(f"{what}give one of {shown}, or a number below {len(names)}")


def _for_samples(predictor: Predictor, runtime: Runtime) -> Predictor:
    """Give the same model in bf16 where that is quicker: a fit to hundreds of samples does not see its rounding.

    An exported file has a precision of its own.
    """
    quickest = "openvino" if predictor.device.type == "cpu" else "eager"
    bf16 = predictor.has_module and has_fast_bf16(predictor.device)
    if not bf16 or predictor.runtime != quickest:
        return predictor
    say("lime's samples are computed in bf16, for which there are units here; --precision f32 does without")
    known = {"trained": predictor.trained, "name_of_model": predictor.name_of_model, "where": predictor.where}
    return open_predictor(predictor.model, predictor.config, runtime, "bf16", **known)  # type: ignore[arg-type]
