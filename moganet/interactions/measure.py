"""I^(m)(i,j), exactly the definition; nothing is drawn: of given pairs in given contexts, or of few players in all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moganet.errors import InteractionError
from moganet.interactions.sampling import check_pairs

Booleans = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Value = Callable[[Booleans], ArrayLike]
MAX_MASKS = 2**22  # packed at a time; equal masks are found among these
MAX_PLAYERS = 16  # whose every mask is evaluated
_FORMS = 4  # S+ij, S+i, S+j, S


@dataclass(frozen=True)
class Interactions:
    """Interactions of pairs at several orders.

    values: I^(m)(i,j), (P, orders); standard_errors: of these means over contexts, 0 where only one context exists
    and NaN where only one was given of many. num_contexts: how many were given, (P, orders). evaluations: masks that
    were evaluated, each distinct one once. pairs: (P, 2). orders: m of each column.
    """

    pairs: Integers
    orders: Integers
    num_players: int
    values: Floats
    standard_errors: Floats
    num_contexts: Integers
    evaluations: int


def pair_interactions(
    value: Value, pairs: ArrayLike, contexts: Any, *, num_players: int | None = None, batch_size: int = 4096
) -> Interactions:
    """Measure I^(m)(i,j) = mean over contexts S of v(S+ij) - v(S+i) - v(S+j) + v(S), summed in float64.

    value: from boolean masks (B, n), True where a player is present, to values (B,). pairs: (P, 2).
    contexts: contexts[p][r] holds the contexts of pair p at the r-th order: K arrays of player indices, or booleans
        (K, n). All pairs have the same orders; K is free. num_players: n; None takes it from boolean contexts, or
        else as the largest index + 1. batch_size: masks at a time that `value` is given.
    Equal masks are evaluated once (up to four million at a time). Raises InteractionError for contexts that hold a
    player of their pair, or differ in size within an order, and for values that are not finite.
    """
    n = num_players if num_players is not None else _infer_players(pairs, contexts)
    chosen = check_pairs(pairs, n)
    if len(contexts) != len(chosen):
        raise InteractionError(f"there are contexts of {len(contexts)} pairs for {len(chosen)}; give one list each")
    if batch_size < 1:
        raise InteractionError(f"a batch of {batch_size} masks is empty; give at least 1")
    blocks: list[tuple[Floats, Floats, Integers, Integers]] = []
    evaluations, start = 0, 0
    while start < len(chosen):
        held: list[tuple[Bytes, list[int], list[int]]] = []
        size = 0
        while start < len(chosen) and (not held or size + len(held[-1][0]) <= MAX_MASKS):
            held.append(_masks(chosen[start], contexts[start], n))
            size, start = size + len(held[-1][0]), start + 1
        packed, lengths, orders = zip(*held, strict=True)
        values, number = _evaluate(value, np.concatenate(packed), n, batch_size)
        evaluations += number
        blocks.append((*_average(values, lengths, np.array(orders), n), np.array(lengths), np.array(orders)))
    means, errors, numbers, orders_of = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    if (orders_of != orders_of[0]).any():
        raise InteractionError("the pairs' contexts differ in their orders; give each pair the same")
    return Interactions(chosen, orders_of[0], n, means, errors, numbers, evaluations)


def _infer_players(pairs: ArrayLike, contexts: Any) -> int:
    largest = [int(np.max(np.asarray(pairs), initial=-1))]
    for of_order in chain.from_iterable(contexts):
        if isinstance(of_order, np.ndarray) and of_order.dtype == np.bool_ and of_order.ndim == 2:
            return int(of_order.shape[1])
        largest += [int(np.max(np.asarray(context), initial=-1)) for context in of_order]
    return max(largest) + 1


def _masks(pair: Integers, of_pair: Any, n: int) -> tuple[Bytes, list[int], list[int]]:
    """Give a pair's masks, packed (forms * contexts, bytes): for each order all of S+ij, then S+i, S+j and S."""
    i, j = pair.tolist()
    contexts = [_booleans(of_order, n) for of_order in of_pair]
    if not contexts or not all(len(one) for one in contexts):
        raise InteractionError(f"the pair ({i}, {j}) lacks contexts; give at least one at each order")
    orders = []
    for one in contexts:
        sizes = one.sum(axis=1)
        if one[:, [i, j]].any():
            raise InteractionError(f"a context of the pair ({i}, {j}) holds one of the two; draw it from the others")
        if (sizes != sizes[0]).any():
            raise InteractionError(f"contexts of one order have sizes {sizes.min()} and {sizes.max()}; give equal ones")
        orders.append(int(sizes[0]))
    both = np.concatenate(contexts)
    forms = np.tile(both, (_FORMS, 1)).reshape(_FORMS, len(both), n)
    forms[0, :, [i, j]] = True
    forms[1, :, i] = True
    forms[2, :, j] = True
    return np.packbits(forms.reshape(-1, n), axis=1), [len(one) for one in contexts], orders


def _booleans(of_order: Any, n: int) -> Booleans:
    if isinstance(of_order, np.ndarray) and of_order.dtype == np.bool_ and of_order.ndim == 2 and of_order.shape[1]:
        if of_order.shape[1] != n:
            raise InteractionError(f"boolean contexts are for {of_order.shape[1]} players, but there are {n}")
        return of_order
    masks = np.zeros((len(of_order), n), np.bool_)
    for mask, context in zip(masks, of_order, strict=True):
        players = np.asarray(context)
        if players.size == 0:
            continue
        if players.dtype.kind not in "iu" or players.min() < 0 or players.max() >= n:
            raise InteractionError(f"a context must hold players of 0 to {n - 1}, not {players.tolist()}")
        mask[players] = True
        if mask.sum() != players.size:
            raise InteractionError(f"the context {players.tolist()} holds a player twice")
    return masks


def _evaluate(value: Value, packed: Bytes, n: int, batch_size: int) -> tuple[Floats, int]:
    """Give the values of packed masks, and how many distinct ones were evaluated."""
    first, inverse = distinct_rows(packed)
    values = np.empty(len(first), np.float64)
    for start in range(0, len(first), batch_size):
        batch = packed[first[start : start + batch_size]]
        given = np.asarray(value(np.unpackbits(batch, axis=1, count=n).view(np.bool_)), np.float64)
        if given.shape != (len(batch),):
            raise InteractionError(f"the value function gave {given.shape} for {len(batch)} masks; it must give (B,)")
        values[start : start + batch_size] = given
    if not np.isfinite(values).all():
        number = int((~np.isfinite(values)).sum())
        raise InteractionError(f"the value function gave NaN or an infinity for {number} of {len(values)} masks")
    return values[inverse], len(first)


def distinct_rows(rows: Bytes) -> tuple[Integers, Integers]:
    """Give the places of the distinct rows of (N, bytes), and for each row which of these it is.

    Sorts by a 64-bit hash and then compares in full; what collides is sorted by all of its bytes instead.
    """
    padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    words = padded.view(np.uint64)
    _, first, inverse = np.unique(_hashes(words), return_index=True, return_inverse=True)
    if not np.array_equal(words[first[inverse]], words):
        keys = np.ascontiguousarray(padded).view(np.dtype((np.void, padded.shape[1]))).ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first, inverse


def _hashes(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    odd = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = words * odd
    mixed ^= mixed >> np.uint64(29)
    return np.asarray((mixed * np.uint64(0xBF58476D1CE4E5B9)).sum(axis=1, dtype=np.uint64))


def _average(values: Floats, lengths: Sequence[list[int]], orders: Integers, n: int) -> tuple[Floats, Floats]:
    """Give means and standard errors (P, orders) over contexts; values lie as `_masks` lays them, pair by pair."""
    means, errors = np.empty(orders.shape), np.zeros(orders.shape)
    ends = _FORMS * np.cumsum([sum(of_pair) for of_pair in lengths])
    for p, of_pair in enumerate(np.split(values, ends[:-1])):
        both, first, second, none = of_pair.reshape(_FORMS, -1)
        for r, part in enumerate(np.split(both - first - second + none, np.cumsum(lengths[p])[:-1])):
            means[p, r] = part.mean()
            if orders[p, r] not in (0, n - 2):
                errors[p, r] = part.std(ddof=1) / len(part) ** 0.5 if len(part) > 1 else np.nan
    return means, errors


def exact_interactions(value: Value, n: int, *, batch_size: int = 4096) -> Floats:
    """Compute I^(m)(i,j) over all contexts, (n - 1, n, n): order, player, player; the diagonal is 0.

    value: from boolean masks (B, n) to values (B,). Evaluates 2^n masks. Raises InteractionError unless n is 2 to 16.
    """
    if not 2 <= n <= MAX_PLAYERS:
        raise InteractionError(f"exact interactions need 2 to {MAX_PLAYERS} players, not {n}; sample them instead")
    subsets = np.arange(2**n)
    present = (subsets[:, None] >> np.arange(n) & 1).astype(np.bool_)  # (2^n, n)
    batches = [np.asarray(value(present[i : i + batch_size]), np.float64) for i in range(0, 2**n, batch_size)]
    values = np.concatenate(batches)
    if values.shape != (2**n,) or not np.isfinite(values).all():
        raise InteractionError(f"the value function gave {values.shape}, or what is not finite, for {2**n} masks")
    sizes = present.sum(axis=1)
    numbers = np.array([comb(n - 2, m) for m in range(n - 1)], np.float64)
    interactions = np.zeros((n - 1, n, n))
    for i in range(n):
        for j in range(i + 1, n):
            contexts = subsets[~present[:, i] & ~present[:, j]]
            with_i, with_j = contexts | 1 << i, contexts | 1 << j
            changes = values[with_i | with_j] - values[with_i] - values[with_j] + values[contexts]
            interactions[:, i, j] = np.bincount(sizes[contexts], changes, n - 1) / numbers
            interactions[:, j, i] = interactions[:, i, j]
    return interactions


def shapley_interaction_index(interactions: Floats) -> Floats:
    """Give the Shapley interaction index (n, n) of `exact_interactions`' (n - 1, n, n): the mean over orders."""
    if interactions.ndim != 3 or interactions.shape != (len(interactions), *2 * (len(interactions) + 1,)):
        raise InteractionError(f"interactions must be (n - 1, n, n) for n players, not {interactions.shape}")
    return np.asarray(interactions.mean(axis=0))
