"""How often `--samples auto` finds the ten superpixels that 10,000 samples find, on photographs at 224 pixels.

No trained network of 224 pixels ships: what is asked is the shipped `moganet_nano.cifar10` on the picture shrunk to its
32 pixels, so that superpixels and samples are those of 224 pixels. Per picture: two runs of 10,000 samples with seeds
of their own, and one of "auto" with a third. `best_10` says that the same ten come first in any order. What "auto"
takes on moganet_xtiny is computed from its samples and the rates of lime.json. Writes lime_ten.json beside this file.
Usage: python benchmarks/lime_ten.py FOLDER [PICTURES]
"""

import json
import sys
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from sides import write
from torch import Tensor
from torch.nn.functional import interpolate

from moganet import load
from moganet.data.preprocess import decode, preprocess
from moganet.engine.explaining import scores_of
from moganet.explanations import METHODS
from moganet.explanations.superpixels import find_superpixels

FULL, BATCH, BEST, SIDE = 10_000, 256, (1, 3, 5, 10), 224
AUTO: int | str = "auto"
PAIRS = ("first_second", "first_auto", "second_auto")


def same_best(one: list[float], other: list[float]) -> dict[str, float]:
    """Say for each number whether the same superpixels come first, and which share of the ten do."""
    first, second = np.argsort(one)[::-1], np.argsort(other)[::-1]
    found = {f"best_{k}": float(set(first[:k]) == set(second[:k])) for k in BEST}
    return {**found, "shared_of_10": len(set(first[:10]) & set(second[:10])) / 10}


def explain(scores: Any, x: Tensor) -> dict[str, Any]:
    """Run LIME three times on a picture (1, 3, 224, 224) and compare what was found."""
    target, segments = scores(x).argmax(1), find_superpixels(x[0], "quickshift")[0]
    runs = {}
    for seed, (name, samples) in enumerate((("first", FULL), ("second", FULL), ("auto", AUTO))):
        how = {"samples": samples, "seed": seed, "batch_size": BATCH, "superpixels": segments[None]}
        runs[name] = METHODS["lime"].explain(scores, x, target, **how)[0].details
    pairs = {f"{a}_{b}": same_best(runs[a]["weights"], runs[b]["weights"]) for a, b in combinations(runs, 2)}
    auto = runs["auto"]
    return {**pairs, "samples": auto["samples"], "superpixels": auto["num_superpixels"], "stable": auto.get("stable")}


def main() -> None:
    """Explain some of a folder's pictures, and say what agrees."""
    predictor = load("moganet_nano.cifar10")
    plain = scores_of(predictor)
    own = predictor.config.preprocessing
    large = own.changed(size=(SIDE, SIDE))
    files = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix in (".jpg", ".png"))
    rows = []
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    for path in files[:: max(1, len(files) // number)][:number]:
        x = preprocess(decode(path), large)[None]
        rows.append(explain(lambda images: plain(interpolate(images, own.size, mode="area")), x))
        print(rows[-1], file=sys.stderr, flush=True)
    known = Path(__file__).with_name("lime.json")
    rates = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    samples = [row["samples"] for row in rows]
    result = {
        "pictures": len(rows),
        "size": SIDE,
        "superpixels_mean": mean(row["superpixels"] for row in rows),
        "samples_median": median(samples),
        "samples_mean": mean(samples),
        "samples_most": max(samples),
        "agreement": {pair: {key: mean(row[pair][key] for row in rows) for key in rows[0][pair]} for pair in PAIRS},
        "xtiny_seconds": {name: _seconds(rates[name], samples) for name in ("f32", "bf16") if name in rates},
        "per_picture": rows,
    }
    write(__file__, result)


def _seconds(rates: dict[str, float], samples: list[int]) -> dict[str, float]:
    taken = [rates["superpixels_seconds"] + number / rates["lime_samples_per_second"] for number in samples]
    return {"median": median(taken), "mean": mean(taken), "most": max(taken)}


if __name__ == "__main__":
    main()
