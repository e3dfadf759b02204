"""J^(m): how strong interactions are at each order, with bands and with the floor that finite contexts leave."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from moganet.errors import InteractionError
from moganet.interactions.measure import Interactions

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FEW = 6  # units below which a band is a t interval
MIDDLE = (0.25, 0.75)  # of n - 2: the orders whose mean J is "the middle"
_HALF_NORMAL = (2 / np.pi) ** 0.5  # E|x| of a standard normal x


@dataclass(frozen=True)
class Curve:
    """J^(m) at each order, and how sure it is.

    values: mean of |I^(m)(i,j)| over images and pairs, divided by its mean over the listed orders. low, high: band.
    floor: what J would show of pairs that do not interact, from num_contexts contexts. mean_strength: J's numerator.
    middle: mean J over orders from a quarter to three quarters of n - 2, and middle_band. units: the rows of means
    that the band draws from, images, or the pairs of a single image.
    """

    orders: Integers
    num_players: int
    values: Floats
    low: Floats
    high: Floats
    floor: Floats
    mean_strength: Floats
    middle: float
    middle_band: tuple[float, float]
    num_images: int
    num_pairs: int
    num_contexts: int
    level: float
    units: Floats = field(repr=False)

    def rows(self) -> list[dict[str, int | float]]:
        """Give a row for each order, for a table."""
        names = ("order", "fraction", "J", "low", "high", "floor", "mean_strength")
        bands = (self.values, self.low, self.high, self.floor, self.mean_strength)
        columns = [column.tolist() for column in (self.orders, self.orders / self.num_players, *bands)]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Comparison:
    """The second curve minus the first, with bands from drawing the same images for both."""

    difference: Floats
    low: Floats
    high: Floats
    middle: float
    middle_band: tuple[float, float]


def strength(images: Sequence[Interactions], *, level: float = 0.95, num_draws: int = 2000, seed: int = 0) -> Curve:
    """Give the curve J^(m) of the interactions of one or more images, as a ratio of means over images.

    The band is an expanded percentile interval (Hesterberg 2015) of a bootstrap in which each image is drawn with its
    pairs: a drawn image brings its own pairs' scatter along, so drawing those again would count it twice. Of fewer
    than six images it is a t interval from the bootstrap's standard error. A single image has no others to draw, so
    its pairs are drawn, and the band is about that image alone. Raises InteractionError where images differ in players,
    orders, or the number of contexts K: curves of unequal K have unequal floors.
    """
    if not images:
        raise InteractionError("there are no interactions to make a curve of; give those of at least one image")
    if not 0 < level < 1 or num_draws < 1:
        raise InteractionError(f"a band needs a level in 0..1 and at least one draw, not {level} and {num_draws}")
    first = images[0]
    for one in images:
        if one.num_players != first.num_players or not np.array_equal(one.orders, first.orders):
            raise InteractionError("the images were measured with different grids or orders; measure them alike")
    contexts = _contexts(images)
    means = np.array([np.abs(one.values).mean(axis=0) for one in images])  # (images, orders)
    if not means.any():
        raise InteractionError("no pair interacts at any order, so that J, a ratio, does not exist")
    units = means if len(images) > 1 else np.abs(first.values)
    mean_strength = means.mean(axis=0)
    errors = np.array([one.standard_errors.mean(axis=0) for one in images]).mean(axis=0)
    drawn = _normalised(_draws(len(units), num_draws, seed) @ units)
    inside = middle_orders(first.orders, first.num_players)
    low, high, middle_band = _bands(drawn, inside, len(units), level)
    values = _normalised(mean_strength)
    return Curve(
        first.orders,
        first.num_players,
        values,
        np.maximum(low, 0.0),
        high,
        floor=_HALF_NORMAL * errors / mean_strength.mean(),
        mean_strength=mean_strength,
        middle=float(values[inside].mean()) if inside.any() else float("nan"),
        middle_band=(max(0.0, middle_band[0]), middle_band[1]),
        num_images=len(images),
        num_pairs=sum(len(one.pairs) for one in images),
        num_contexts=contexts,
        level=level,
        units=units,
    )


def compare(first: Curve, second: Curve, *, num_draws: int = 2000, seed: int = 0) -> Comparison:
    """Give the second curve minus the first. Raises InteractionError unless measured on the same images and alike."""
    if first.num_contexts != second.num_contexts:
        raise InteractionError(
            f"curves of {first.num_contexts} and {second.num_contexts} contexts can't be compared, since fewer "
            "contexts raise the middle; measure both with the same number"
        )
    if first.num_players != second.num_players or not np.array_equal(first.orders, second.orders):
        raise InteractionError("curves of different grids or orders can't be compared; measure both alike")
    if first.units.shape != second.units.shape or first.num_images != second.num_images or first.level != second.level:
        raise InteractionError("curves of different images can't be compared; measure both on the same")
    draws = _draws(len(first.units), num_draws, seed)
    drawn = _normalised(draws @ second.units) - _normalised(draws @ first.units)
    inside = middle_orders(first.orders, first.num_players)
    low, high, middle_band = _bands(drawn, inside, len(first.units), first.level)
    return Comparison(second.values - first.values, low, high, second.middle - first.middle, middle_band)


def middle_orders(orders: Integers, n: int) -> NDArray[np.bool_]:
    """Say which orders are of the middle: from a quarter to three quarters of n - 2."""
    low, high = (share * (n - 2) for share in MIDDLE)
    return np.asarray((orders >= low) & (orders <= high))


def _contexts(images: Sequence[Interactions]) -> int:
    """Give the K of all orders but the end ones, which have a single context."""
    n, orders = images[0].num_players, images[0].orders
    inside = (orders != 0) & (orders != n - 2)
    found = {int(k) for one in images for k in np.unique(one.num_contexts[:, inside] if inside.any() else 1)}
    if len(found) > 1:
        raise InteractionError(
            f"contexts number {min(found)} to {max(found)} within one curve; fewer raise a pair's |I|, so "
            "give each pair, order and image as many"
        )
    return found.pop()


def _draws(number: int, num_draws: int, seed: int) -> Floats:
    """Give how often each of the units is drawn, (draws, units); the same for two curves that are compared."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, np.full(number, 1 / number), num_draws).astype(np.float64)


def _normalised(means: Floats) -> Floats:
    total = means.mean(axis=-1, keepdims=True)
    return np.asarray(np.divide(means, total, out=np.zeros_like(means), where=total > 0))


def _bands(
    drawn: Floats, inside: NDArray[np.bool_], number: int, level: float
) -> tuple[Floats, Floats, tuple[float, float]]:
    """Give the band at each order, low and high, and that of the mean over the orders inside."""
    middle = _band(drawn[:, inside].mean(axis=1), number, level) if inside.any() else (np.nan, np.nan)
    return *_band(drawn, number, level), (float(middle[0]), float(middle[1]))


def _band(drawn: Floats, number: int, level: float) -> tuple[Any, Any]:
    """Give low and high over draws (draws, …), widened for few units: sqrt(n / (n - 1)) t instead of z."""
    if number < 2:
        return np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
    tail = float(-stdtrit(number - 1, (1 - level) / 2)) * (number / (number - 1)) ** 0.5
    if number < FEW:  # draws of so few do not reach as far
        center, half = drawn.mean(axis=0), tail * drawn.std(axis=0)
        return center - half, center + half
    outside = NormalDist().cdf(-tail)
    low, high = np.quantile(drawn, [outside, 1 - outside], axis=0)
    return low, high
