"""`explain`: why a model decides as it does, as maps over its images, and how far they can be trusted."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moganet.config import Precision
from moganet.data.listing import list_files
from moganet.data.preprocess import normalize
from moganet.errors import ConfigError, DataError, WeightsError
from moganet.explanations import METHODS, Explanation, overlay
from moganet.explanations.faithfulness import insertion_deletion, random_areas, rank_correlation, with_drawn_weights
from moganet.explanations.lime import STABLE
from moganet.explanations.method import Scores
from moganet.files import atomic_path, check_place, to_json, write_text
from moganet.inference import Predictor
from moganet.inference.load import as_predictor
from moganet.inference.predictor import as_images
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.machine import keep_freed_memory
from moganet.models.choices import Choices
from moganet.notices import noted, say
from moganet.progress import Progress, no_progress
from moganet.report.drawing import caption
from moganet.report.explained import Panel, draw_explained
from moganet.results import LeftOut

RESULT_FILE, MAX_STEM = "explanations.json", 100
CHECK_SAMPLES = 1000  # of LIME with drawn weights: enough to see whether the map stays


@dataclass(frozen=True)
class _Asked:
    """One image: its name, its pixels as the network sees them, uint8 (C, H, W), the network's input, the target."""

    name: str
    picture: Tensor
    x: Tensor
    target: int
    probability: float


@noted
def explain(
    model: str | Path | Predictor,
    images: Any,
    method: str | Sequence[str] = "lime",
    *,
    target: str | int | None = None,
    compare: bool = False,
    score: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    progress: Progress = no_progress,
    **options: Any,
) -> dict[str, Any]:
    """Explain images by one or several methods, and go on past those that can't be read.

    images: files, folders, patterns or "-" for a list on standard input; or PIL images and arrays.
    target: a class's name or number; None is the likeliest. compare: one picture an image with the methods side by
    side; all that the model can do, where `method` is left at "lime". score: insertion and deletion areas, and how
    far the map stays when the weights are drawn anew. out: a folder for pictures, maps (.npz) and explanations.json;
    what an earlier call wrote there stays, and new names are numbered, unless overwrite is said.
    options: the methods' own: samples (a number or "auto") and superpixels of lime, stage of gradcam, steps of
    integrated-gradients, copies and noise of saliency, window of occlusion, batch_size; and choices as in `load`.
    Gives `images` ({"file", "method", "target", "probability", "map": (H, W) array, and what the method found}) and
    `unreadable`. Raises ConfigError, DataError or WeightsError.
    """
    folder = Path(out) if out is not None else None
    if folder is not None:
        check_place(folder / RESULT_FILE, "--out")
    choices = {name: options.pop(name) for name in vars(Choices()) if name in options}
    predictor = as_predictor(model, runtime, precision, **choices)
    names = _choose_methods(predictor, [method] if isinstance(method, str) else list(method), compare)
    _check_options(names, options)
    if predictor.device.type == "cpu":
        keep_freed_memory()
    sources, unreadable = _collect(images)
    results: list[dict[str, Any]] = []
    bar = progress if "lime" not in names else no_progress  # LIME draws its own, and two are too many
    steps = bar([1] * len(sources), len(sources), "explain")
    for number, ((name, source), _) in enumerate(zip(sources, steps, strict=True), 1):
        try:
            asked = _ask(predictor, name, source, target)
        except DataError as error:
            unreadable.append(LeftOut(file=name, reason=str(error)))
            continue
        found = []
        for own in names:
            explained = _explain(predictor, asked, own, options | {"seed": seed, "progress": progress})
            entry = _entry(predictor, asked, own, explained)
            _say_unstable(asked, entry)
            if score:
                entry |= _score(predictor, asked, own, explained, options | {"seed": seed})
            found.append((entry, explained))
        if folder is not None:
            endings = [f"-{own}.npz" for own in names] + [f"-{own}.png" for own in (["compare"] if compare else names)]
            stem = free_stem(folder, f"{number:03d}-{short_stem(name)}", endings, overwrite)
            _write(folder, stem, asked, found, compare)
        results += [entry for entry, _ in found]
    result: dict[str, Any] = {"images": results, "unreadable": unreadable}
    if folder is not None and results:
        kept = [{key: value for key, value in entry.items() if key != "map"} for entry in results]
        file = folder / f"{free_stem(folder, Path(RESULT_FILE).stem, ['.json'], overwrite)}.json"
        write_text(file, to_json({**result, "images": kept}, indent=1))
        if file.name != RESULT_FILE:
            say(f"{folder} holds an earlier call's explanations; these are {file.name}, or say --overwrite")
        result |= {"out": str(folder), "file": str(file)}
    return result


def short_stem(name: str) -> str:
    """Give an image's name without its ending, cut so that a file system takes it with what is added."""
    stem = Path(name).stem
    return stem if len(os.fsencode(stem)) <= MAX_STEM else os.fsencode(stem)[:MAX_STEM].decode(errors="ignore")


def free_stem(folder: Path, stem: str, endings: Sequence[str], overwrite: bool) -> str:
    """Give the stem, numbered where a file of it and an ending is there already."""
    numbered = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(one for one in numbered if overwrite or not any((folder / (one + end)).exists() for end in endings))


def _say_unstable(asked: _Asked, entry: dict[str, Any]) -> None:
    """Say where LIME stopped at its limit, since the order of the best superpixels is then a matter of chance."""
    stable = entry.get("stable")
    if stable is not None and stable < STABLE:
        say(
            f"{asked.name}: lime's ranking was not stable after {entry['samples']:,} samples ({100 * stable:.0f} % of "
            f"resampled fits agree, {100 * STABLE:.0f} % are asked for); choose more by --samples",
            doubtful=True,
        )


def _choose_methods(predictor: Predictor, names: list[str], compare: bool) -> list[str]:
    """Give the methods to use. Raises ConfigError for one that does not exist or can't explain this model."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ConfigError(f"there is no method {', '.join(unknown)!r}; choose of {', '.join(METHODS)}")
    able = [name for name in METHODS if predictor.has_module or not METHODS[name].needs_module]
    if compare and names == ["lime"]:
        return able
    for name in names:
        if name not in able:
            raise ConfigError(
                f"{name} needs the torch module, and {predictor.name_of_model} is an exported file, which holds none; "
                f"use {' or '.join(able)}, or give the model that it was exported from"
            )
    return list(dict.fromkeys(names))


def _check_options(names: list[str], options: dict[str, Any]) -> None:
    known = {option for name in names for option in METHODS[name].options} - {"seed", "progress"}
    for option, value in options.items():
        if value is not None and option not in known:
            raise ConfigError(
                f"{', '.join(names)} has no option {option!r}; it has {', '.join(sorted(known)) or 'none'}"
            )


def _collect(images: Any) -> tuple[list[tuple[str, Any]], list[LeftOut]]:
    items = as_images(images)
    if not items:
        raise DataError("nothing to explain; give images, folders, patterns or '-'")
    if all(isinstance(item, str | Path) for item in items):
        paths, unreadable = list_files(items)  # type: ignore[arg-type]
        if not paths and not unreadable:
            raise DataError("nothing to explain: the list on standard input is empty; give a path a line")
        return [(str(path), path) for path in paths], unreadable
    return [(f"image {number}", item) for number, item in enumerate(items, 1)], []


def _ask(predictor: Predictor, name: str, source: Any, target: str | int | None) -> _Asked:
    if not predictor.class_names:
        raise WeightsError(f"{predictor.name_of_model} has no head, so there is no class to explain")
    picture = predictor.picture(source)
    x = normalize(picture, predictor.config.preprocessing)
    probabilities = predictor.probabilities(predictor.logits(x[None]))[0]
    index = int(probabilities.argmax()) if target is None else find_class(target, predictor.class_names)
    return _Asked(name, picture, x, index, float(probabilities[index]))


def find_class(target: str | int, names: Sequence[str]) -> int:
    """Give a class's index by its name or number. Raises ConfigError for one that the model does not know."""
    if str(target) in names:
        return names.index(str(target))
    if str(target).isdigit() and int(target) < len(names):
        return int(target)
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    raise ConfigError(f"the model knows no class {str(target)!r}; give one of {shown}, or a number below {len(names)}")


def _explain(predictor: Predictor, asked: _Asked, name: str, options: dict[str, Any]) -> Explanation:
    method = METHODS[name]
    model: Any = predictor.model if method.needs_module else scores_of(predictor)
    return _run(name, model, asked, options)


def _run(name: str, model: Any, asked: _Asked, options: dict[str, Any]) -> Explanation:
    method = METHODS[name]
    own = {key: value for key, value in options.items() if key in method.options and value is not None}
    return method.explain(model, asked.x[None], torch.tensor([asked.target]), **own)[0]


def scores_of(predictor: Predictor) -> Scores:
    """Give a predictor as a function from images (B, C, H, W) to probabilities (B, classes)."""
    return lambda x: predictor.probabilities(predictor.logits(x))


def _entry(predictor: Predictor, asked: _Asked, name: str, explained: Explanation) -> dict[str, Any]:
    entry = {
        "file": asked.name,
        "method": name,
        "target": predictor.class_names[asked.target],
        "target_index": asked.target,
        "probability": asked.probability,
        **explained.details,
        "map": explained.map.numpy(),
    }
    return entry if predictor.trained else {**entry, "untrained": True}


def _score(
    predictor: Predictor, asked: _Asked, name: str, explained: Explanation, options: dict[str, Any]
) -> dict[str, Any]:
    """Give the areas, those of random maps, the curves, and the correlation with the map under drawn weights."""
    scores = scores_of(predictor)
    curves = insertion_deletion(scores, asked.x, asked.target, explained.map)
    inserted, deleted = random_areas(scores, asked.x, asked.target, seed=options["seed"])
    return {
        "insertion": curves.insertion_area,
        "deletion": curves.deletion_area,
        "insertion_random": inserted,
        "deletion_random": deleted,
        "randomized_correlation": _randomized(predictor, asked, name, explained, options),
        "insertion_curve": curves.insertion,
        "deletion_curve": curves.deletion,
    }


def _randomized(
    predictor: Predictor, asked: _Asked, name: str, explained: Explanation, options: dict[str, Any]
) -> float | None:
    """Compare with the map under drawn weights; an exported file has none that could be drawn."""
    if not predictor.has_module:
        return None
    drawn = with_drawn_weights(predictor.model, options["seed"])
    model: Any = drawn
    if name == "lime":
        options = options | {"samples": CHECK_SAMPLES}
    if not METHODS[name].needs_module:
        model = scores_of(open_predictor(drawn, predictor.config, "eager"))
    return rank_correlation(explained.map, _run(name, model, asked, options).map)


def _write(
    folder: Path, stem: str, asked: _Asked, found: list[tuple[dict[str, Any], Explanation]], compare: bool
) -> None:
    """Write each method's map, and a picture of it, or one of all."""
    for entry, explained in found:
        path = folder / f"{stem}-{entry['method']}.npz"
        arrays: dict[str, Any] = {"map": explained.map.numpy()}
        arrays |= {name: part.numpy() for name, part in explained.parts.items()}
        if explained.segments is not None:
            arrays["segments"] = explained.segments.numpy()
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)
        entry["map_file"] = str(path)
    for group, name in [(found, "compare")] if compare else [([one], one[0]["method"]) for one in found]:
        path = folder / f"{stem}-{name}.png"
        panels = [Panel(_pixels(asked.picture), "as the network sees it")]
        panels += [_panel(asked, *one) for one in group]
        if not compare:
            panels += [Panel(overlay(asked.picture, part), label) for label, part in group[0][1].parts.items()]
        target = f"{caption(group[0][0]['target'], 30)} ({100 * asked.probability:.1f} %)"
        title = f"{caption(Path(asked.name).name, 50)}: {target}"
        draw_explained(panels, path, title, _note([entry for entry, _ in group]))
        for entry, _ in group:
            entry["picture"] = str(path)


def _panel(asked: _Asked, entry: dict[str, Any], explained: Explanation) -> Panel:
    signed = METHODS[entry["method"]].signed
    lines = [entry["method"]]
    if "r2" in entry:
        steady = ", not stable" if entry.get("stable", 1.0) < STABLE else ""
        lines.append(f"{entry['samples']} samples, R² {entry['r2']:.2f}{steady}")
    if "insertion" in entry:
        lines.append(f"insertion {entry['insertion']:.2f} (random {entry['insertion_random']:.2f})")
        lines.append(f"deletion {entry['deletion']:.2f} (random {entry['deletion_random']:.2f})")
        kept = entry["randomized_correlation"]
        lines.append("" if kept is None else f"drawn weights: correlation {kept:.2f}")
    picture = overlay(asked.picture, explained.map, signed=signed, segments=explained.segments)
    return Panel(picture, "\n".join(lines), entry.get("insertion_curve", ()), entry.get("deletion_curve", ()))


def _note(entries: list[dict[str, Any]]) -> str:
    notes = []
    if any(METHODS[entry["method"]].signed for entry in entries):
        notes.append("orange speaks for the class, violet against it")
    if any(not METHODS[entry["method"]].signed for entry in entries):
        notes.append("bright: looked at")
    return "; ".join(notes)


def _pixels(picture: Tensor) -> np.ndarray:
    three = picture if len(picture) == 3 else picture[:1].expand(3, -1, -1)
    pixels: np.ndarray = three.permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)
