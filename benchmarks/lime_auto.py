"""How often LIME's `--samples auto` agrees with 10,000 samples, and what it costs, on test images of a trained model.

Per image: two runs of 10,000 samples with seeds of their own, and one of "auto" with a third. `ranking_3` says that
the same three superpixels come first in the same order, which is what "auto" waits for; `best_1`, `best_3` and
`best_5` that the same come first in any order. Spearman's correlation is of all weights. Writes lime_auto.json beside
this file. Usage: python benchmarks/lime_auto.py MODEL DATA [IMAGES]
"""

import itertools
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sides import write

from moganet import load, open_data
from moganet.engine.explaining import scores_of
from moganet.explanations import METHODS
from moganet.numbers import spread

FULL, BATCH = 10_000, 256


def compare(one: list[float], other: list[float]) -> dict[str, float]:
    """Say in what two runs' rankings agree."""
    first, second = np.argsort(one)[::-1], np.argsort(other)[::-1]
    same = {f"best_{k}": float(set(first[:k]) == set(second[:k])) for k in (1, 3, 5)}
    same["ranking_3"] = float(first[:3].tolist() == second[:3].tolist())
    return {**same, "spearman": float(spearmanr(one, other).statistic)}


def main() -> None:
    """Run LIME three times on each image."""
    predictor = load(sys.argv[1])
    images = open_data(sys.argv[2]).split("test")
    rows: list[dict[str, Any]] = []
    for index in spread(len(images), int(sys.argv[3]) if len(sys.argv) > 3 else 20):
        x = predictor.preprocess(images[index].image)
        target = predictor.logits(x).argmax(1)
        runs = {}
        for seed, (name, samples) in enumerate((("first", FULL), ("second", FULL), ("auto", "auto"))):
            explained = METHODS["lime"].explain(
                scores_of(predictor), x, target, samples=samples, seed=seed, batch_size=BATCH
            )
            runs[name] = explained[0].details
        pairs = itertools.combinations(runs, 2)
        row: dict[str, Any] = {f"{a}_{b}": compare(runs[a]["weights"], runs[b]["weights"]) for a, b in pairs}
        row |= {"index": index, "samples": runs["auto"]["samples"], "superpixels": runs["auto"]["num_superpixels"]}
        rows.append({**row, "stable": runs["auto"]["stable"]})
        print(rows[-1], file=sys.stderr, flush=True)
    samples = [row["samples"] for row in rows]
    result = {
        "model": Path(sys.argv[1]).name,
        "variant": predictor.config.architecture.name,
        "data": sys.argv[2].partition(":")[0],
        "size": predictor.config.preprocessing.size,
        "images": len(rows),
        "samples_mean": mean(samples),
        "samples_median": median(samples),
        "cost": mean(samples) / FULL,
        "agreement": {
            pair: {key: mean(row[pair][key] for row in rows) for key in rows[0][pair]}
            for pair in ("first_second", "first_auto", "second_auto")
        },
        "threads": torch.get_num_threads(),
        "per_image": rows,
    }
    write(__file__, result)


if __name__ == "__main__":
    main()
