"""From how many validation images a temperature helps on others: what MIN_IMAGES of `tasks/calibration.py` rests on.

A trained model's logits for a labelled set are divided at random, 100 times for each number: the temperature is fitted
on so many images, and the cross-entropy of all others compared with and without it. Done as well with logits whose
best temperature is 2, as of an overconfident network. Writes temperature.json beside this file.
Usage: python benchmarks/temperature.py MODEL DATA [IMAGES]
"""

import sys
from typing import Any

import numpy as np
import torch
from sides import logits_and_labels, write
from torch import Tensor
from torch.nn import functional as F

from moganet import load, open_data
from moganet.numbers import spread
from moganet.tasks.calibration import COLDEST, HOTTEST
from moganet.tasks.classify.reliability import fit_temperature

NUMBERS, DRAWS = (10, 20, 30, 50, 100, 200, 500), 100


def study(logits: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """Give, for each number of images, how often the temperature makes others worse, and how it scatters."""
    best, rows = fit_temperature(logits, labels), []
    for number in NUMBERS:
        worse, found = 0, []
        for _ in range(DRAWS):
            order = torch.randperm(len(labels))
            few, others = order[:number], order[number:]
            found.append(fit_temperature(logits[few], labels[few]))
            before = F.cross_entropy(logits[others], labels[others])
            worse += bool(F.cross_entropy(logits[others] / found[-1], labels[others]) > before)
        low, high = np.quantile(np.array(found) / best, (0.025, 0.975)).tolist()
        bound = np.isclose(found, COLDEST) | np.isclose(found, HOTTEST)
        row = {"images": number, "worse": worse / DRAWS, "at_bound": float(bound.mean()), "ratio": [low, high]}
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Measure both, and write them."""
    torch.manual_seed(0)
    predictor, data = load(sys.argv[1]), open_data(sys.argv[2])
    test = data.split("test")
    chosen = spread(len(test), int(sys.argv[3]) if len(sys.argv) > 3 else len(test))
    logits, labels = logits_and_labels(predictor, data, test.subset(chosen))
    overconfident = 2 / fit_temperature(logits, labels) * logits
    found = {"as it is": study(logits, labels), "overconfident": study(overconfident, labels)}
    write(__file__, {"model": sys.argv[1], "data": sys.argv[2].partition(":")[0], "images": len(labels), **found})


if __name__ == "__main__":
    main()
