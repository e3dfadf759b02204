"""Make a guard, which tells images unlike those trained on (`moganet.tasks.guard`), of a model and its own images.

Training images say what pixels and features are like; the same images with their parts scrambled, what features of no
object are like; images held back, how rare a score is and where the threshold lies.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moganet.data import Split
from moganet.data.module import evaluation_loader
from moganet.data.resample import normalize
from moganet.inference.file_stream import BATCH
from moganet.inference.predictor import Predictor
from moganet.inference.runs import Array
from moganet.inference.stream import BATCHES
from moganet.numbers import spread
from moganet.tasks.guard import FEATURES, KEPT, LEVELS, TEXTURE, Curve, Guard, Score, Values, packed, texture_of

MIN_HELD = 100  # images, to find a threshold on
NUM_TRAINING, NUM_HELD = 1000, 4000  # images that are looked at, evenly spread
GRIDS = (2, 4)  # parts a side, into which images are cut to be scrambled
SHRINKAGE = 1e-3  # of the correlations of the pixels' statistics towards none
RIDGE = 0.1  # added to the variances of scaled features: few images tell few directions


class _Known(NamedTuple):
    """What is known of training images: statistics of their pixels, their features, and those of scrambled ones."""

    texture: Values
    features: Values | None
    scrambled: Values | None


def make_guard(predictor: Predictor, training: Split, held: Split, workers: int | None = None) -> Guard | None:
    """Make a guard of training images and of those held back; None where the latter are too few (100 are needed).

    Up to 1,000 training images go through the network, each as it is and scrambled twice, and 4,000 held back.
    """
    if len(held) < MIN_HELD:
        return None
    known = _of_training(predictor, training.subset(spread(len(training), NUM_TRAINING)), workers)
    center, matrix = _whitening(known.texture)
    direction = None
    if known.features is not None and known.scrambled is not None:
        direction = packed(_direction(known.features, known.scrambled), "<f4")
    blank = Curve(knots=(0.0,) * len(LEVELS), tail=1.0)
    names: list[Score] = ["texture"] if direction is None else ["texture", "scrambled"]
    guard = Guard(
        center=packed(center, "<f4"),
        spread=packed(matrix, "<f2"),
        direction=direction,
        curves=dict.fromkeys((*names, "energy"), blank),
        threshold=0.0,
        kept=0.0,
        num_images=1,
    )
    scores = _of_held(predictor, guard, held.subset(spread(len(held), NUM_HELD)), workers)
    return None if len(scores.get("texture", ())) < MIN_HELD else _with_threshold(guard, scores)


def _with_threshold(guard: Guard, scores: Mapping[Score, Values]) -> Guard:
    guard = guard.changed(curves={name: Curve.of(values) for name, values in scores.items()})
    total = guard.total(scores)
    threshold = float(np.quantile(total, KEPT))
    return guard.changed(threshold=threshold, kept=float((total <= threshold).mean()), num_images=len(total))


def _batches(predictor: Predictor, split: Split, workers: int | None) -> Iterator[NDArray[np.uint8]]:
    """Give the readable images of a split in the network's size, uint8 (B, C, H, W)."""
    size = BATCHES.get(predictor.device.type, BATCH)
    for batch in evaluation_loader(split, predictor.config.preprocessing, size, workers):
        if len(batch.images):
            yield batch.images.numpy()


def _of_training(predictor: Predictor, split: Split, workers: int | None) -> _Known:
    preprocessing, random = predictor.config.preprocessing, np.random.default_rng(0)
    textures, features, scrambled = list[Array](), list[Array](), list[Array]()
    for images in _batches(predictor, split, workers):
        x = normalize(images, preprocessing)
        textures.append(texture_of(x, preprocessing))
        outputs = predictor.outputs(x)
        if FEATURES in outputs:
            features.append(outputs[FEATURES])
            for parts in GRIDS:
                mixed = normalize(scramble(images, parts, random), preprocessing)
                scrambled.append(predictor.outputs(mixed)[FEATURES])
    joined = [np.concatenate(some).astype(np.float64) if some else None for some in (textures, features, scrambled)]
    assert joined[0] is not None
    return _Known(joined[0], joined[1], joined[2])


def _of_held(predictor: Predictor, guard: Guard, split: Split, workers: int | None) -> dict[Score, Values]:
    found: list[dict[Score, Values]] = []
    for images in _batches(predictor, split, workers):
        x = normalize(images, predictor.config.preprocessing)
        outputs = {**predictor.outputs(x), TEXTURE: texture_of(x, predictor.config.preprocessing)}
        found.append(guard.scores(outputs, predictor.task.energy(outputs)))
    return {name: np.concatenate([part[name] for part in found]) for name in (found[0] if found else ())}


def scramble(images: NDArray[np.uint8], parts: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Cut each image (B, C, H, W) into parts x parts, and put these in another order; what does not divide stays."""
    lines = [_cuts(length, parts) for length in images.shape[2:]]
    places = [(here, there) for here in lines[0] for there in lines[1]]
    mixed = images.copy()
    for image, target in zip(images, mixed, strict=True):
        order = random.permutation(len(places))
        if (order == np.arange(len(places))).all():
            order = np.roll(order, 1)
        for (here, there), other in zip(places, order, strict=True):
            target[:, here, there] = image[:, *places[other]]
    return mixed


def _cuts(length: int, parts: int) -> list[slice]:
    size = max(1, length // parts)
    return [slice(i * size, (i + 1) * size) for i in range(min(parts, length))]


def _whitening(values: Values) -> tuple[Values, Values]:
    """Give the center (n,) and the matrix (n, n) of a Mahalanobis distance, with shrunk correlations."""
    center, deviation = values.mean(0), values.std(0) + 1e-6
    correlations = np.atleast_2d(np.cov(((values - center) / deviation).T))
    shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(center))
    lengths, axes = np.linalg.eigh(shrunk)
    return center, np.clip(axes / np.sqrt(lengths) / deviation[:, None], -6e4, 6e4)  # what float16 holds


def _direction(features: Values, scrambled: Values) -> Values:
    """Give the direction and offset (D + 1,) from features to those of scrambled images, by linear discrimination."""
    center, deviation = features.mean(0), features.std(0) + 1e-6
    plain, mixed = (features - center) / deviation, (scrambled - center) / deviation
    within = (np.atleast_2d(np.cov(plain.T)) + np.atleast_2d(np.cov(mixed.T))) / 2
    direction = np.linalg.solve(within + RIDGE * np.eye(len(within)), mixed.mean(0) - plain.mean(0)) / deviation
    return np.append(direction, -center @ direction)
