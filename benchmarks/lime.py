"""LIME's rate beside that of the network alone at the same batch: moganet_xtiny, 224 pixels, the automatic runtime.

In f32 and in bf16, which LIME's samples are computed in where the processor has units for it.

A turn is 128 samples, since 10,000 take minutes; what 10,000 take is computed from the medians, with the search for
superpixels, which is done once an image, timed apart. `rendering` is LIME with a network that costs nothing: drawing,
rendering and fitting. The picture comes with scikit-learn. Writes lime.json beside this file.
Usage: python benchmarks/lime.py
"""

from typing import Any

import torch
from sides import Side, compare, write
from sklearn.datasets import load_sample_image
from torch import Tensor

from moganet import load
from moganet.config import Precision
from moganet.engine.explaining import scores_of
from moganet.explanations import METHODS
from moganet.explanations.superpixels import find_superpixels
from moganet.inference import Predictor

SAMPLES, BATCH, ROUNDS, FULL = 128, 32, 9, 10_000
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")


def main() -> None:
    """Time both in turns, in each precision."""
    photo = load_sample_image("china.jpg")
    found: dict[str, Any] = {
        precision: measure(load("moganet_xtiny", "auto", precision), photo) for precision in PRECISIONS
    }
    fixed = {"model": "moganet_xtiny", "size": 224, "batch": BATCH, "samples_a_turn": SAMPLES, "rounds": ROUNDS}
    write(__file__, {**fixed, **found})


def measure(predictor: Predictor, photo: object) -> dict[str, Any]:
    """Time LIME and its parts in one precision."""
    x = predictor.preprocess(photo)
    segments = find_superpixels(x[0], "quickshift")[0]
    batch = x.expand(BATCH, -1, -1, -1).contiguous()

    def network() -> None:
        for _ in range(SAMPLES // BATCH):
            predictor.logits(batch)

    def lime(scores: object) -> None:
        METHODS["lime"](scores, x, torch.tensor([0]), samples=SAMPLES, superpixels=segments[None], batch_size=BATCH)

    def nothing(images: Tensor) -> Tensor:
        return torch.zeros(len(images), 1)

    sides = {
        "network": Side(network, keeps_memory=True),
        "lime": Side(lambda: lime(scores_of(predictor)), keeps_memory=True),
        "rendering": Side(lambda: lime(nothing), keeps_memory=True),
        "superpixels": Side(lambda: find_superpixels(x[0], "quickshift"), keeps_memory=True),
    }
    seconds = compare(sides, ROUNDS)
    full = {name: FULL / SAMPLES * seconds[name] for name in ("network", "lime", "rendering")}
    return {
        "runtime": predictor.runtime,
        "num_superpixels": int(segments.max()) + 1,
        "network_images_per_second": SAMPLES / seconds["network"],
        "lime_samples_per_second": SAMPLES / seconds["lime"],
        "ratio": seconds["network"] / seconds["lime"],
        "ratio_by_rendering": seconds["network"] / (seconds["network"] + seconds["rendering"]),
        "superpixels_seconds": seconds["superpixels"],
        "seconds_for_10000": seconds["superpixels"] + full["lime"],
        "ratio_for_10000": full["network"] / (seconds["superpixels"] + full["lime"]),
    }


if __name__ == "__main__":
    main()
