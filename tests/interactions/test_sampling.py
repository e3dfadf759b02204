"""What is drawn: the published distribution of pairs and contexts, and that estimates and bands keep their word."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from games import additive, of_sets, tanh_network

from moganet.errors import InteractionError
from moganet.interactions import (
    compare,
    exact_interactions,
    measure,
    pair_interactions,
    plan_budget,
    published_orders,
    sample_contexts,
    sample_pairs,
    strength,
)
from moganet.interactions.budget import count_evaluations
from moganet.interactions.measure import distinct_rows
from moganet.interactions.sampling import RATIOS, _draw, count_pairs


def draws_by_the_rule(g):
    """Every (i, offset) of a g x g grid: unordered pair -> share of all draws, and the share that is clamped."""
    shares, clamped = Counter(), 0
    for row in range(g):
        for column in range(g):
            for down in range(-2, 3):
                for right in range(-2, 3):
                    if (down, right) == (0, 0):
                        continue
                    to = min(max(row + down, 0), g - 1), min(max(column + right, 0), g - 1)
                    clamped += to != (row + down, column + right)
                    shares[frozenset([row * g + column, to[0] * g + to[1]])] += 1 / (24 * g * g)
    return shares, clamped / (24 * g * g)


def test_the_share_of_clamped_draws():
    drawn = [_draw(np.random.default_rng(seed), 16, 16)[2].mean() for seed in range(400)]
    expected = draws_by_the_rule(16)[1]
    assert expected == pytest.approx(0.15, abs=0.01)
    assert np.mean(drawn) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / (400 * 256)) ** 0.5)


def test_single_pairs_follow_the_rule():
    shares, _ = draws_by_the_rule(4)
    one_player = sum(share for pair, share in shares.items() if len(pair) == 1)  # i = j is drawn again
    found = Counter(frozenset(sample_pairs(4, 1, seed)[0].tolist()) for seed in range(4000))
    expected = {pair: 4000 * share / (1 - one_player) for pair, share in shares.items() if len(pair) == 2}
    assert set(found) <= set(expected)
    chi_square = sum((found[pair] - number) ** 2 / number for pair, number in expected.items())
    freedom = len(expected) - 1
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("grid", [2, 3, 5, (2, 7), (1, 4)])
def test_every_pair_can_be_drawn_and_none_twice(grid):
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    pairs = sample_pairs(grid, count_pairs(grid), "an image")
    assert len({frozenset(pair) for pair in pairs.tolist()}) == len(pairs)
    apart = np.abs(np.stack(np.divmod(pairs[:, 0], columns)) - np.stack(np.divmod(pairs[:, 1], columns)))
    assert apart.max() <= 2 and pairs.min() >= 0 and pairs.max() < rows * columns
    with pytest.raises(InteractionError, match=f"1 to {len(pairs)}"):
        sample_pairs(grid, len(pairs) + 1, 0)


def test_seeds_and_prefixes():
    pairs = sample_pairs(16, 200, b"a")
    assert np.array_equal(pairs[:50], sample_pairs(16, 50, b"a")) and not np.array_equal(
        pairs, sample_pairs(16, 200, b"b")
    )
    contexts = sample_contexts(256, pairs[:3], [0, 12, 127, 254], 10, b"a")
    assert np.array_equal(contexts[1:2, 1:, :4], sample_contexts(256, pairs[1:2], [12, 127, 254], 4, b"a"))
    assert not np.array_equal(contexts, sample_contexts(256, pairs[:3], [0, 12, 127, 254], 10, b"b"))


def test_contexts_are_uniform():
    contexts = sample_contexts(7, [(1, 4)], [2], 6000)[0, 0]
    found = Counter(map(tuple, contexts.astype(int).tolist()))
    assert len(found) == 10 and max(abs(number - 600) for number in found.values()) < 5 * (600 * 0.9) ** 0.5


def test_published_orders():
    assert published_orders(256)[:3] == [0, 12, 25] and published_orders(256)[-3:] == [228, 241, 254]
    assert len(published_orders(2)) == len(RATIOS) and set(published_orders(2)) == {0}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sample_pairs(1, 1), "at least 2 players"),
        (lambda: sample_pairs(0, 1), "no patches"),
        (lambda: sample_pairs(4, 0), "ask for 1"),
        (lambda: published_orders(1), "at least 2 players"),
        (lambda: sample_contexts(1, [(0, 0)], [0], 1), "at least 2 players"),
        (lambda: sample_contexts(5, [(0, 1)], [4], 1), "0 to 3 for 5 players, not 4"),
        (lambda: sample_contexts(5, [(0, 1)], [-1], 1), "not -1"),
        (lambda: sample_contexts(5, [(0, 1)], [], 1), "none"),
        (lambda: sample_contexts(5, [(0, 1)], [1], 0), "at least 1"),
        (lambda: strength([]), "at least one image"),
    ],
)
def test_what_can_not_be_drawn_is_said(call, said):
    with pytest.raises(InteractionError, match=said):
        call()


def test_rows_whose_hashes_collide_are_told_apart(monkeypatch):
    rows = np.random.default_rng(0).integers(0, 3, (500, 5), np.uint8)
    for _ in range(2):
        first, inverse = distinct_rows(rows)
        assert len(first) == len(np.unique(rows, axis=0)) and np.array_equal(rows[first[inverse]], rows)
        monkeypatch.setattr(measure, "_hashes", lambda words: np.zeros(len(words), np.uint64))


def measured(value, n, pairs, orders, num_contexts, seed):
    return pair_interactions(value, pairs, sample_contexts(n, pairs, orders, num_contexts, seed))


def test_estimates_lie_within_four_standard_errors():
    n, within, cases = 9, 0, 0
    orders = list(range(n - 1))
    for seed in range(200):
        value = tanh_network(n, seed, scale=0.7)
        pairs = sample_pairs(3, 2, seed)
        found = measured(value, n, pairs, orders, 50, seed)
        exact = exact_interactions(value, n)[:, pairs[:, 0], pairs[:, 1]].T
        near = np.abs(found.values - exact) <= 4 * found.standard_errors + 1e-10
        cases += 1
        within += near.all()
    assert cases == 200 and within >= 0.99 * cases


def population(images, n=9, num_contexts=20):
    """All pairs' interactions of many images, each a network of its own scale."""
    orders = list(range(n - 1))
    made = []
    for seed in range(images):
        pairs = sample_pairs(3, count_pairs(3), seed)
        value = tanh_network(n, seed, scale=np.random.default_rng(seed).uniform(0.3, 1.2))
        made.append(measured(value, n, pairs, orders, num_contexts, seed))
    return made


def part(image, pairs):
    return replace(
        image,
        pairs=image.pairs[pairs],
        values=image.values[pairs],
        standard_errors=image.standard_errors[pairs],
        num_contexts=image.num_contexts[pairs],
    )


@pytest.fixture(scope="module")
def many_images():
    return population(80)


def coverage(many_images, num_images, num_pairs, experiments=200):
    """Share of bands, over experiments and orders, that hold the population's J."""
    means = np.mean([np.abs(image.values).mean(axis=0) for image in many_images], axis=0)
    truth = means / means.mean()
    hits = []
    for seed in range(experiments):
        generator = np.random.default_rng(seed)
        chosen = [
            part(many_images[k], generator.choice(len(many_images[k].pairs), num_pairs, replace=False))
            for k in generator.integers(len(many_images), size=num_images)
        ]
        curve = strength(chosen, num_draws=500, seed=seed)
        hits.append((curve.low <= truth) & (truth <= curve.high))
    return float(np.mean(hits))


@pytest.mark.parametrize(("num_images", "num_pairs"), [(8, 6), (20, 2), (40, 12)])
def test_bands_cover_the_populations_curve(many_images, num_images, num_pairs):
    assert 0.90 <= coverage(many_images, num_images, num_pairs) <= 0.98


def test_the_curve_is_a_ratio_of_means(many_images):
    curve = strength(many_images[:5])
    strengths = np.array([np.abs(image.values) for image in many_images[:5]])
    assert np.allclose(curve.values, strengths.mean((0, 1)) / strengths.mean())
    assert (
        curve.values.mean() == pytest.approx(1)
        and (curve.low <= curve.values).all()
        and (curve.values <= curve.high).all()
    )
    assert curve.num_images == 5 and curve.num_contexts == 20 and curve.num_pairs == 5 * count_pairs(3)
    assert curve.rows()[-1]["order"] == 7 and curve.rows()[0]["J"] == curve.values[0]


def test_the_floor_is_what_pairs_without_interaction_show():
    # I(0, 1) of order 4 of 10 players: both sets of three cancel, so that only their scatter is seen.
    value, expected = of_sets(10, {(0, 1, 2): -2.0, (0, 1, 3): 2.0})
    assert abs(expected[4, 0, 1]) < 1e-12
    silent = [measured(value, 10, [(0, 1)], [4], 30, seed) for seed in range(400)]
    shown = np.mean([np.abs(one.values) for one in silent])
    floor = (2 / np.pi) ** 0.5 * np.mean([one.standard_errors for one in silent])
    assert shown == pytest.approx(floor, rel=0.12)
    assert strength(silent).floor[0] == pytest.approx(floor / shown)


def test_one_image_has_a_band_over_its_pairs(many_images):
    curve = strength(many_images[:1])
    assert curve.num_images == 1 and len(curve.units) == count_pairs(3) and (curve.low < curve.high).any()
    assert np.isnan(strength([part(many_images[0], [0])]).low).all()


def test_curves_are_compared_only_where_they_are_comparable(many_images):
    first = strength(many_images[:10])
    same = compare(first, first)
    assert not same.difference.any() and not same.low.any() and same.middle == 0
    other = strength([replace(image, values=image.values * np.linspace(1, 2, 8)) for image in many_images[:10]])
    assert compare(first, other).low[-1] > 0 > compare(first, other).high[0]
    unequal = strength([measured(tanh_network(9, s), 9, [(0, 1)], list(range(8)), 5, s) for s in range(10)])
    with pytest.raises(InteractionError, match="20 and 5 contexts"):
        compare(first, unequal)
    with pytest.raises(InteractionError, match="different images"):
        compare(first, strength(many_images[:9]))
    mixed = [many_images[0], measured(tanh_network(9), 9, [(0, 1)], list(range(8)), 5, 0)]
    with pytest.raises(InteractionError, match="5 to 20"):
        strength(mixed)
    with pytest.raises(InteractionError, match="does not exist"):
        strength([measured(lambda masks: 0.0 * masks.sum(1), 9, [(0, 1)], [0, 3], 5, 0)])
    with pytest.raises(InteractionError, match="different grids"):
        strength([many_images[0], measured(additive(4), 4, [(0, 1)], [0], 5, 0)])


def test_a_plan_keeps_to_the_budget_and_gets_better_with_it(many_images):
    pilot = many_images[:6]
    plans = [plan_budget(pilot, number, max_images=10_000, max_pairs=100) for number in (10_000, 100_000, 1_000_000)]
    for plan, number in zip(plans, (10_000, 100_000, 1_000_000), strict=True):
        assert plan.images * count_evaluations(plan.pairs, plan.contexts, 6, 9) == plan.evaluations <= number
    assert plans[0].error > plans[1].error > plans[2].error and plans[2].contexts > plans[0].contexts
    with pytest.raises(InteractionError, match="give more time"):
        plan_budget(pilot, 100, max_images=100, max_pairs=20)
