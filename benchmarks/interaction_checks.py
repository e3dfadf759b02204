"""Measure what the tests of interactions only bound: deviations from closed forms, estimates, coverage of bands.

Writes interaction_checks.json beside this file. Usage: python benchmarks/interaction_checks.py
"""

import sys
from pathlib import Path

import numpy as np
from sides import write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "interactions"))

from games import tanh_network
from test_closed_forms import CASES, N
from test_sampling import coverage, measured, population

from moganet.interactions import exact_interactions, sample_pairs

AMOUNTS = ((2, 6), (5, 6), (8, 6), (20, 2), (20, 8), (40, 12))  # images, pairs
CASES_OF_ESTIMATES, EXPERIMENTS = 500, 400


def share_within(errors: float) -> float:
    """Give the share of seeded cases whose estimates all lie within so many standard errors of the exact ones."""
    n, within = 9, 0
    for seed in range(CASES_OF_ESTIMATES):
        value, pairs = tanh_network(n, seed, scale=0.7), sample_pairs(3, 2, seed)
        found = measured(value, n, pairs, list(range(n - 1)), 50, seed)
        exact = exact_interactions(value, n)[:, pairs[:, 0], pairs[:, 1]].T
        within += bool((np.abs(found.values - exact) <= errors * found.standard_errors + 1e-10).all())
    return within / CASES_OF_ESTIMATES


def main() -> None:
    """Measure and write."""
    images = population(200)
    result = {
        "closed_forms": {
            name: float(np.abs(exact_interactions(value, N) - expected).max())
            for name, (value, expected) in CASES.items()
        },
        "cases_within_4_standard_errors": share_within(4.0),
        "coverage": {f"{i} images, {p} pairs": coverage(images, i, p, EXPERIMENTS) for i, p in AMOUNTS},
    }
    write(__file__, result)


if __name__ == "__main__":
    main()
