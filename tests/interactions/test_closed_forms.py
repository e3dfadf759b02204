"""Exact interactions against closed forms, brute force, and shapiq."""

from itertools import combinations, permutations

import numpy as np
import pytest
from games import additive, cube, of_sets, of_size, tanh_network
from hypothesis import given
from hypothesis import strategies as st

from moganet.errors import InteractionError
from moganet.interactions import (
    exact_interactions,
    pair_interactions,
    reward_of,
    sample_contexts,
    shapley_interaction_index,
)

N = 8
OFF = 1 - np.eye(N)


def linear_model(n, classes, seed=0):
    weights = np.random.default_rng(seed).normal(size=(n, classes))
    return lambda masks: masks @ weights + 0.1


def or_of_all():
    expected = np.zeros((N - 1, N, N))
    expected[0] = -OFF
    return lambda masks: masks.any(axis=1), expected


def at_least(k):
    expected = np.zeros((N - 1, N, N))
    expected[k - 2], expected[k - 1] = OFF, -OFF
    return lambda masks: masks.sum(axis=1) >= k, expected


def only_at_the_end():
    expected = np.zeros((N - 1, N, N))
    expected[N - 2] = OFF
    return lambda masks: masks.all(axis=1), expected


CASES = {
    "additive": (additive(N), np.zeros((N - 1, N, N))),
    "log-odds of two linear classes": (
        lambda masks: reward_of(linear_model(N, 2)(masks), 1, "log-odds"),
        np.zeros((N - 1, N, N)),
    ),
    "one pair": of_sets(N, {(2, 5): -1.7}),
    "sets of all sizes": of_sets(N, {(0, 1): 2.0, (1, 3, 4): -1.0, (0, 2, 5, 7): 0.5, (1, 2, 3, 4, 5, 6): 3.0}),
    "and of all": of_sets(N, {tuple(range(N)): 1.0}),
    "and of all, said plainly": only_at_the_end(),
    "or of all": or_of_all(),
    "at least 4": at_least(4),
    "function of the size": of_size(N, lambda size: np.sin(size) + 0.1 * np.asarray(size, float) ** 3),
    "cube": cube(np.linspace(-1, 2, N)),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms_hold_at_every_order(name):
    value, expected = CASES[name]
    assert np.abs(exact_interactions(value, N) - expected).max() < 1e-10
    # And by pair_interactions from every context, where the cube's mean is exact as well.
    pairs = [(0, 1), (5, 2)]
    others = [[k for k in range(N) if k not in pair] for pair in pairs]
    contexts = [[[*map(list, combinations(rest, m))] for m in range(N - 1)] for rest in others]
    found = pair_interactions(value, pairs, contexts)
    assert np.abs(found.values - [expected[:, i, j] for i, j in pairs]).max() < 1e-10
    assert found.orders.tolist() == list(range(N - 1))


def test_the_log_of_p_interacts_where_log_odds_do_not():
    def value(masks):
        return reward_of(linear_model(N, 2)(masks), 1, "log-p")

    assert np.abs(exact_interactions(value, N)).max() > 0.01


def test_brute_force_by_the_definition():
    n, value = 5, tanh_network(5)

    def v(*players):
        return value(np.isin(np.arange(n), players)[None])[0]

    found = exact_interactions(value, n)
    for i, j in permutations(range(n), 2):
        rest = [k for k in range(n) if k not in (i, j)]
        for m in range(n - 1):
            changes = [v(*s, i, j) - v(*s, i) - v(*s, j) + v(*s) for s in combinations(rest, m)]
            assert found[m, i, j] == pytest.approx(np.mean(changes), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 9])
def test_efficiency(n):
    value = tanh_network(n, seed=n)
    whole, none = value(np.ones((1, n), bool))[0], value(np.zeros((1, n), bool))[0]
    alone = value(np.eye(n, dtype=bool)) - none
    weights = np.array([(n - 1 - m) / (n * (n - 1)) for m in range(n - 1)])
    interacting = (weights[:, None, None] * exact_interactions(value, n)).sum()
    assert whole - none == pytest.approx(alone.sum() + interacting, abs=1e-10)


def test_the_mean_over_orders_is_shapiqs_interaction_index():
    shapiq = pytest.importorskip("shapiq")
    n, value = 6, tanh_network(6, scale=2.0)
    computer = shapiq.ExactComputer(n_players=n, game=lambda coalitions: value(np.asarray(coalitions, bool)))
    theirs = computer(index="SII", order=2)
    ours = shapley_interaction_index(exact_interactions(value, n))
    for i, j in combinations(range(n), 2):
        assert ours[i, j] == pytest.approx(theirs[(i, j)], abs=1e-10)


@given(n=st.integers(2, 12), num_contexts=st.integers(1, 5), seed=st.integers(0, 10**6), data=st.data())
def test_shapes_and_the_pair_alone_interacts(n, num_contexts, seed, data):
    i, j = data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True))
    orders = data.draw(st.lists(st.integers(0, n - 2), min_size=1, max_size=4))
    pairs = np.array([[i, j], [j, i]])
    contexts = sample_contexts(n, pairs, orders, num_contexts, seed)
    assert contexts.shape == (2, len(orders), num_contexts, n)
    assert (contexts.sum(-1) == np.array(orders)[None, :, None]).all() and not contexts[..., [i, j]].any()
    seen = []

    def value(masks):
        seen.extend(map(bytes, masks))
        return 2.5 * masks[:, [i, j]].all(axis=1) + masks.sum(axis=1)

    found = pair_interactions(value, pairs, contexts, batch_size=3)
    assert found.values.shape == (2, len(orders)) and np.allclose(found.values, 2.5, atol=1e-10)
    assert found.evaluations == len(seen) == len(set(seen))


def test_indices_and_booleans_say_the_same():
    value = tanh_network(6)
    booleans = sample_contexts(6, [(0, 3)], [0, 2, 4], 7, seed=1)
    indices = [[[np.flatnonzero(one) for one in of_order] for of_order in of_pair] for of_pair in booleans]
    first, second = (pair_interactions(value, [(0, 3)], contexts) for contexts in (booleans, indices))
    assert np.array_equal(first.values, second.values) and first.evaluations == second.evaluations


def test_end_orders_are_evaluated_once_and_have_no_error():
    found = pair_interactions(tanh_network(6), [(0, 3)], sample_contexts(6, [(0, 3)], [0, 4], 50))
    assert found.evaluations == 8 and not found.standard_errors.any() and (found.num_contexts == 50).all()


def wrong_contexts(**changes):
    return {"value": additive(4), "pairs": [(0, 1)], "contexts": [[[[2], [3]]]], "num_players": 4, **changes}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pairs": [(0, 0)]}, "two different players"),
        ({"pairs": [(0, 4)]}, "0 to 3"),
        ({"pairs": [0, 1]}, r"\(P, 2\)"),
        ({"pairs": [(0, 1), (0, 2)]}, "1 pairs for 2"),
        ({"contexts": [[[[1], [3]]]]}, "holds one of the two"),
        ({"contexts": [[[[2], [2, 3]]]]}, "sizes 1 and 2"),
        ({"contexts": [[[[2, 2]]]]}, "twice"),
        ({"contexts": [[[[7]]]]}, "0 to 3"),
        ({"contexts": [[[]]]}, "at least one"),
        ({"contexts": [[np.zeros((2, 5), bool)]]}, "5 players"),
        ({"value": lambda masks: np.full(len(masks), np.nan)}, "NaN"),
        ({"value": lambda masks: np.zeros(1)}, r"must give \(B,\)"),
        ({"batch_size": 0}, "at least 1"),
        ({"pairs": [(0, 1), (2, 3)], "contexts": [[[[2]]], [[[0, 1]]]]}, "differ in their orders"),
    ],
)
def test_what_is_no_context_is_said(arguments, said):
    given_ = wrong_contexts(**arguments)
    with pytest.raises(InteractionError, match=said):
        pair_interactions(given_.pop("value"), given_.pop("pairs"), given_.pop("contexts"), **given_)


@pytest.mark.parametrize("n", [0, 1, 17])
def test_too_few_or_too_many_players_for_the_exact(n):
    with pytest.raises(InteractionError, match="2 to 16"):
        exact_interactions(additive(n), n)


def test_rewards():
    logits = np.array([[1.0, 2.0, -1.0], [1000.0, -1000.0, 0.0]], np.float32)
    p = np.exp(logits[0].astype(float)) / np.exp(logits[0].astype(float)).sum()
    assert reward_of(logits, 1)[0] == pytest.approx(np.log(p[1] / (1 - p[1])))
    assert reward_of(logits, 1, "log-p")[0] == pytest.approx(np.log(p[1]))
    assert reward_of(logits, 1, "logit").tolist() == [2.0, -1000.0]
    assert np.isfinite(reward_of(logits, 0)).all() and reward_of(logits, 0).dtype == np.float64
    for arguments, said in (
        ((logits, 3), "no class 3"),
        ((logits, 0, "p"), "log-odds"),
        ((logits[:, :1], 0), "2 classes"),
    ):
        with pytest.raises(InteractionError, match=said):
            reward_of(*arguments)
