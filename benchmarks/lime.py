"""LIME's rate beside that of the network alone at the same batch: moganet_xtiny, 224 pixels, the automatic runtime.

A turn is 256 samples, since 10,000 take minutes; `seconds_for_10000` is computed from the medians, with the search for
superpixels, which is done once an image, timed apart. The picture comes with scikit-learn. Writes lime.json beside
this file. Usage: python benchmarks/lime.py
"""

import torch
from sides import ROUNDS, Side, compare, write
from sklearn.datasets import load_sample_image

from moganet import load
from moganet.explanations import METHODS
from moganet.explanations.superpixels import find_superpixels

SAMPLES, BATCH = 256, 32


def main() -> None:
    """Time both in turns."""
    predictor = load("moganet_xtiny")
    x = predictor.preprocess(load_sample_image("china.jpg"))
    segments = find_superpixels(x[0], "quickshift")[0]
    batch = x.expand(BATCH, -1, -1, -1).contiguous()

    def network() -> None:
        for _ in range(SAMPLES // BATCH):
            predictor.logits(batch)

    def lime() -> None:
        METHODS["lime"](
            lambda images: predictor.probabilities(predictor.logits(images)),
            x,
            torch.tensor([0]),
            samples=SAMPLES,
            superpixels=segments[None],
            batch_size=BATCH,
        )

    sides = {
        "network": Side(network, keeps_memory=True),
        "lime": Side(lime, keeps_memory=True),
        "superpixels": Side(lambda: find_superpixels(x[0], "quickshift"), keeps_memory=True),
    }
    seconds = compare(sides)
    result = {
        "model": "moganet_xtiny",
        "size": 224,
        "runtime": predictor.runtime,
        "batch": BATCH,
        "samples_a_turn": SAMPLES,
        "rounds": ROUNDS,
        "num_superpixels": int(segments.max()) + 1,
        "network_images_per_second": SAMPLES / seconds["network"],
        "lime_samples_per_second": SAMPLES / seconds["lime"],
        "ratio": seconds["network"] / seconds["lime"],
        "superpixels_seconds": seconds["superpixels"],
        "seconds_for_10000": seconds["superpixels"] + 10_000 / SAMPLES * seconds["lime"],
        "ratio_for_10000": (10_000 / SAMPLES * seconds["network"])
        / (seconds["superpixels"] + 10_000 / SAMPLES * seconds["lime"]),
    }
    write(__file__, result)


if __name__ == "__main__":
    main()
