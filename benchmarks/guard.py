"""What share of foreign images a model rejects, by each of the guard's scores alone, by all, and by neighbours.

Foreign: photographs of flowers, streets and scenes (folders), noise, plain pages, pages of text. Own: the test images
that the guard was not fitted on. A score alone has the threshold that keeps as many of the images held back. The
nearest neighbours among training images' features, which the guard could have had, are measured beside it.
Writes guard.json beside this file.
Usage: python benchmarks/guard.py MODEL DATA NAME=FOLDER ...
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from ship import held_and_fresh
from sides import update

import moganet
from moganet.data import Split
from moganet.data.listing import list_files
from moganet.inference import Predictor
from moganet.inference.own_data import open_for
from moganet.inference.stream import Stream, split_of_files
from moganet.numbers import spread
from moganet.tasks.guard import KEPT, Guard

NUM_DRAWN, NUM_NEIGHBOURS, NUM_KNOWN = 300, 10, 1000
WORDS = [
    "the",
    "of",
    "and",
    "in",
    "to",
    "a",
    "model",
    "image",
    "which",
    "data",
    "for",
    "is",
    "network",
    "with",
    "each",
    "class",
    "that",
    "training",
    "by",
    "from",
    "on",
    "it",
    "as",
]
Scores = Mapping[str, NDArray[np.floating]]
Outputs = Mapping[str, NDArray[np.floating]]


def drawn() -> dict[str, list[Image.Image]]:
    """Draw noise of both kinds and at two sizes, plain pages in any colour, and pages of text."""
    random, shape = np.random.default_rng(0), (NUM_DRAWN, 32, 32, 3)
    normal = random.normal(128, 50, shape).clip(0, 255).astype(np.uint8)
    large = random.integers(0, 256, (NUM_DRAWN, 224, 224, 3), np.uint8)
    plain = np.broadcast_to(random.integers(0, 256, (NUM_DRAWN, 1, 1, 3), np.uint8), shape)
    kinds = {
        "uniform noise": random.integers(0, 256, shape, np.uint8),
        "Gaussian noise": normal,
        "uniform noise, 224 px": large,
        "plain pages": plain,
    }
    pictures = {name: [Image.fromarray(np.ascontiguousarray(one)) for one in images] for name, images in kinds.items()}
    return {**pictures, "pages of text": [page(random) for _ in range(NUM_DRAWN)]}


def page(random: np.random.Generator) -> Image.Image:
    """Draw a page of text: dark on light or the other way round, with letters of 10 to 40 pixels."""
    width, height = ((620, 877), (400, 300))[random.integers(2)]
    dark, light = tuple(random.integers(0, 90, 3).tolist()), tuple(random.integers(180, 256, 3).tolist())
    ink, paper = (dark, light) if random.random() < 0.8 else (light, dark)
    side = int(random.integers(10, 40))
    image, font = Image.new("RGB", (width, height), paper), ImageFont.load_default(side)
    draw = ImageDraw.Draw(image)
    for y in range(height // 14, height * 13 // 14, int(side * 1.4)):
        line = " ".join(random.choice(WORDS, 60))[: int(width * 1.76 / side)]
        draw.text((width // 12, y), line, fill=ink, font=font)
    return image


def of_split(predictor: Predictor, split: Split) -> Outputs:
    """Give all outputs for a split's images."""
    seen = [batch.outputs for batch in Stream(predictor, split, judged=True)]
    return {name: np.concatenate([outputs[name] for outputs in seen]) for name in seen[0]}


def of_pictures(predictor: Predictor, pictures: Sequence[Image.Image]) -> Outputs:
    """Give all outputs for pictures in memory."""
    return predictor.ask(predictor.preprocess(pictures).numpy(), judged=True)


def of_folder(predictor: Predictor, folder: Path) -> Outputs:
    """Give all outputs for a folder's images; maps of labels, as beside street scenes, are none."""
    files = [file for file in list_files([folder])[0] if "annot" not in str(file)]
    return of_split(predictor, split_of_files(files, None))


def scores_of(predictor: Predictor, guard: Guard, known: NDArray[np.floating], outputs: Outputs) -> Scores:
    """Give each score of images, their sum of surprises, and how far the tenth neighbour among known features is."""
    scores = guard.scores(outputs, predictor.task.energy(outputs))
    features, near = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (outputs["features"], known))
    neighbours = -np.partition(features @ near.T, -NUM_NEIGHBOURS, axis=1)[:, -NUM_NEIGHBOURS]
    alone: dict[str, NDArray[np.floating]] = {str(name): values for name, values in scores.items()}
    return {**alone, "neighbours": neighbours, "guard": guard.total(scores)}


def main() -> None:
    """Measure and write."""
    name, data, *folders = sys.argv[1:]
    predictor = moganet.load(name)
    guard = predictor.config.task.guard
    assert guard is not None, f"{name} keeps no guard"
    dataset, _ = open_for(predictor, data)
    held, fresh = held_and_fresh(dataset)
    train = dataset.split("train")
    known = of_split(predictor, train.subset(spread(len(train), NUM_KNOWN)))["features"]
    sets = {"own test images": of_split(predictor, fresh)}
    sets |= {one.partition("=")[0]: of_folder(predictor, Path(one.partition("=")[2])) for one in folders}
    sets |= {kind: of_pictures(predictor, pictures) for kind, pictures in drawn().items()}
    usual = scores_of(predictor, guard, known, of_split(predictor, held))
    thresholds = {score: float(np.quantile(values, KEPT)) for score, values in usual.items()}
    thresholds["guard"] = guard.threshold
    rows: dict[str, Any] = {}
    for kind, outputs in sets.items():
        scores = scores_of(predictor, guard, known, outputs)
        shares = {score: round(float((values > thresholds[score]).mean()), 4) for score, values in scores.items()}
        rows[kind] = {"images": len(outputs["logits"]), **shares}
    update(__file__, name, {"held_back": len(usual["guard"]), "bytes": len(guard.model_dump_json()), "rejected": rows})


if __name__ == "__main__":
    main()
