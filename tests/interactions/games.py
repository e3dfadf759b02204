"""Value functions whose interactions are known in closed form (spec: multi-order interaction strength)."""

from math import comb

import numpy as np


def additive(n):
    weights = np.linspace(-1, 2, n)
    return lambda masks: 0.3 + masks @ weights


def tanh_network(n, seed=0, hidden=6, scale=1.0):
    generator = np.random.default_rng(seed)
    first, bias = generator.normal(0, scale, (n, hidden)), generator.normal(0, 1, hidden)
    second = generator.normal(0, 1, hidden)
    return lambda masks: np.tanh(masks @ first + bias) @ second


def of_sets(n, sets):
    """sum_T w_T [T in S], and its interactions (n - 1, n, n)."""

    def value(masks):
        return sum(w * masks[:, list(t)].all(axis=1) for t, w in sets.items())

    expected = np.zeros((n - 1, n, n))
    for members, w in sets.items():
        t = len(members) - 2
        for i in members:
            for j in members:
                if i != j:
                    expected[:, i, j] += [w * comb(m, t) / comb(n - 2, t) for m in range(n - 1)]
    return value, expected


def of_size(n, f):
    """f(|S|), and its interactions."""
    orders = np.arange(n - 1)
    per_order = f(orders + 2) - 2 * f(orders + 1) + f(orders)
    return lambda masks: f(masks.sum(axis=1)), per_order[:, None, None] * (1 - np.eye(n))


def cube(z):
    """(sum of z over S)^3, and its interactions."""
    n, total = len(z), z.sum()
    orders = np.arange(n - 1)[:, None, None] / max(n - 2, 1)
    product, pair = z[:, None] * z[None], z[:, None] + z[None]
    expected = 6 * product * orders * (total - pair) + 3 * product * pair
    return lambda masks: (masks @ z) ** 3, expected * (1 - np.eye(n))
