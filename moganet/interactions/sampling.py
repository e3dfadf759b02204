"""Which pairs, orders and contexts are measured: the published distribution, seeded by an image's identity."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moganet.errors import InteractionError

Seed = int | str | bytes
Integers = NDArray[np.int64]
RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)  # of n - 2, as published
REACH = 2  # j lies within +-2 rows and columns of i
_BLOCK = 256  # pairs drawn at a time; always as many, so that fewer pairs are the first of more


def published_orders(n: int) -> list[int]:
    """Give the 13 published orders m = int((n - 2) r) for n players; small n repeat some."""
    _check_players(n)
    return [int((n - 2) * ratio) for ratio in RATIOS]


def count_pairs(grid: int | tuple[int, int]) -> int:
    """Count the unordered pairs of a grid within each other's neighbourhood."""
    rows, columns = _sides(grid)
    aside = range(-REACH, REACH + 1)
    offsets = [(down, right) for down in range(REACH + 1) for right in aside if (down, right) > (0, 0)]
    return sum(max(0, rows - down) * max(0, columns - abs(right)) for down, right in offsets)


def sample_pairs(grid: int | tuple[int, int], num_pairs: int, seed: Seed = 0) -> Integers:
    """Draw pairs of patches (num_pairs, 2) of a grid by the published rule.

    i is uniform; j = i + an offset that is uniform over the 24 of the +-2 neighbourhood, each coordinate clamped to
    the grid; both are drawn again if j = i or the unordered pair was taken. So pairs lean to the border.
    grid: patches a side, or (rows, columns); patch = row * columns + column. seed: a number, or an image's identity.
    Fewer pairs with the same seed are the first of more. Raises InteractionError for more pairs than exist.
    """
    rows, columns = _sides(grid)
    _check_players(rows * columns)
    exist = count_pairs(grid)
    if not 1 <= num_pairs <= exist:
        raise InteractionError(
            f"{num_pairs} pairs can't be drawn of a grid of {rows}x{columns}; ask for 1 to {exist}, or a finer grid"
        )
    generator = _generator(seed, "pairs")
    taken: dict[tuple[int, int], tuple[int, int]] = {}
    while len(taken) < num_pairs:
        first, second, _ = _draw(generator, rows, columns)
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            if i != j and len(taken) < num_pairs:
                taken.setdefault((min(i, j), max(i, j)), (i, j))
    return np.array(list(taken.values()), np.int64)


def _draw(generator: np.random.Generator, rows: int, columns: int) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Draw a block of pairs by the rule, i = j not yet excluded, and say whose offset was clamped."""
    first = generator.integers(rows * columns, size=_BLOCK)
    offset = generator.integers((2 * REACH + 1) ** 2 - 1, size=_BLOCK)
    offset += offset >= 2 * REACH * (REACH + 1)  # the middle one, which is no offset, is left out
    row = first // columns + offset // (2 * REACH + 1) - REACH
    column = first % columns + offset % (2 * REACH + 1) - REACH
    inside_row, inside_column = row.clip(0, rows - 1), column.clip(0, columns - 1)
    return first, inside_row * columns + inside_column, (inside_row != row) | (inside_column != column)


def sample_contexts(
    n: int, pairs: ArrayLike, orders: Sequence[int], num_contexts: int, seed: Seed = 0
) -> NDArray[np.bool_]:
    """Draw contexts for pairs (P, 2) of n players: booleans (P, orders, num_contexts, n), True for players in it.

    A context of order m holds m distinct players of the other n - 2, uniformly; the same may come twice. Each pair and
    order has a generator of its own, so that fewer pairs, orders or contexts with the same seed are part of more.
    Raises InteractionError for an order out of 0..n-2.
    """
    _check_players(n)
    chosen = check_pairs(pairs, n)
    wrong = [order for order in orders if not 0 <= order <= n - 2]
    if wrong or not len(orders):
        found = ", ".join(map(str, wrong)) or "none"
        raise InteractionError(f"orders must lie in 0 to {n - 2} for {n} players, not {found}")
    if num_contexts < 1:
        raise InteractionError(f"{num_contexts} contexts can't be drawn; ask for at least 1")
    contexts = np.zeros((len(chosen), len(orders), num_contexts, n), np.bool_)
    rows = np.arange(num_contexts)[:, None]
    for p, (i, j) in enumerate(chosen.tolist()):
        others = np.delete(np.arange(n), [i, j])
        for r, order in enumerate(orders):
            if order == n - 2:
                contexts[p, r][:, others] = True
            elif order:
                keys = _generator(seed, "contexts", i, j, order).random((num_contexts, n - 2), np.float32)
                contexts[p, r][rows, others[np.argpartition(keys, order - 1, axis=1)[:, :order]]] = True
    return contexts


def check_pairs(pairs: ArrayLike, n: int) -> Integers:
    """Give pairs as (P, 2) integers. Raises InteractionError unless they are pairs of different players of 0..n-1."""
    chosen = np.asarray(pairs)
    if chosen.ndim != 2 or chosen.shape[1] != 2 or not len(chosen) or chosen.dtype.kind not in "iu":
        raise InteractionError(f"pairs must be whole numbers (P, 2) with P > 0, not {chosen.dtype} {chosen.shape}")
    wrong = (chosen[:, 0] == chosen[:, 1]) | (chosen < 0).any(1) | (chosen >= n).any(1)
    if wrong.any():
        i, j = chosen[wrong][0].tolist()
        raise InteractionError(f"({i}, {j}) is no pair; it needs two different players of 0 to {n - 1}")
    return chosen.astype(np.int64)


def _check_players(n: int) -> None:
    if n < 2:
        raise InteractionError(f"an interaction needs at least 2 players, not {n}; use a finer grid")


def _sides(grid: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    if rows < 1 or columns < 1:
        raise InteractionError(f"a grid of {rows}x{columns} has no patches; give at least 2 a side")
    return rows, columns


def _generator(seed: Seed, *what: str | int) -> np.random.Generator:
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def usual_grid(side: int) -> int:
    """Give the patches a side of an image of so many pixels, where nobody says another number."""
    return 14 if side % 14 == 0 else min(16, side)
