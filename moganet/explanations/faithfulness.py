"""Whether a map tells the truth about its network: insertion and deletion, and the check with drawn weights."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from moganet.explanations.method import Scores, score_of

STEPS, NUM_RANDOM, RANDOM_SIDE = 32, 3, 8
BLUR = 10 / 224  # of the shorter side: Petsiuk et al. blur images of 224 pixels with a sigma of 10


@dataclass(frozen=True)
class Curves:
    """The target's score as pixels come or go in a map's order: steps + 1 values each, evenly spaced."""

    insertion: tuple[float, ...]
    deletion: tuple[float, ...]

    @property
    def insertion_area(self) -> float:
        """Give the area under the insertion curve; more is better."""
        return _area(self.insertion)

    @property
    def deletion_area(self) -> float:
        """Give the area under the deletion curve; less is better."""
        return _area(self.deletion)


def insertion_deletion(
    model: Scores, image: Tensor, target: int, order: Tensor, *, steps: int = STEPS, batch_size: int = 32
) -> Curves:
    """Bring the most important pixels first into a blurred image, and take them from the whole one (Petsiuk 2018).

    image: (C, H, W). order: the map, (H, W). What is taken is replaced by 0, the data set's mean colour.
    """
    ranks = torch.empty(order.numel(), dtype=torch.long)
    ranks[order.flatten().argsort(descending=True, stable=True)] = torch.arange(order.numel())
    known = torch.linspace(0, order.numel(), steps + 1).round()
    masks = ranks.view(order.shape) < known[:, None, None]  # (steps + 1, H, W)
    scores = []
    with torch.no_grad():
        for base, kept in ((_blurred(image), masks), (torch.zeros_like(image), ~masks)):
            parts = torch.split(kept, batch_size)
            found = [score_of(model, torch.where(part[:, None], image, base), target) for part in parts]
            scores.append(tuple(torch.cat(found).tolist()))
    return Curves(*scores)


def random_areas(
    model: Scores, image: Tensor, target: int, *, seed: int = 0, steps: int = STEPS, batch_size: int = 32
) -> tuple[float, float]:
    """Give the areas (insertion, deletion) of smooth random maps, averaged: what a map must beat."""
    generator = torch.Generator().manual_seed(seed)
    curves = []
    for _ in range(NUM_RANDOM):
        coarse = torch.rand(1, 1, RANDOM_SIDE, RANDOM_SIDE, generator=generator)
        order = F.interpolate(coarse, list(image.shape[1:]), mode="bilinear", align_corners=False)[0, 0]
        curves.append(insertion_deletion(model, image, target, order, steps=steps, batch_size=batch_size))
    return sum(x.insertion_area for x in curves) / NUM_RANDOM, sum(x.deletion_area for x in curves) / NUM_RANDOM


def with_drawn_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """Copy a network with all its parameters drawn anew (normal, each with its own mean and deviation).

    A method whose map stays as it was does not look at what was learned (Adebayo et al. 2018).
    """
    drawn = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in drawn.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.copy_(parameter.mean() + noise * parameter.std(correction=0))
    return drawn


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Give Spearman's correlation of two maps' absolute values; NaN where one of them is constant."""
    a, b = one.abs().flatten(), other.abs().flatten()
    if a.min() == a.max() or b.min() == b.max():
        return float("nan")
    result: Any = spearmanr(a.numpy(), b.numpy())
    return float(result.statistic)


def correlation_text(correlation: float) -> str:
    """Say what `rank_correlation` gave, or that there is none: a map under drawn weights may be the same all over."""
    return "none: a plain map" if math.isnan(correlation) else f"{correlation:.2f}"


def _blurred(image: Tensor) -> Tensor:
    side = min(image.shape[1:])
    sigma = max(1.0, BLUR * side)
    radius = min(int(3 * sigma), side - 1)
    if radius < 1:
        return torch.zeros_like(image)
    blurred: Tensor = gaussian_blur(image, [2 * radius + 1, 2 * radius + 1], [sigma, sigma])
    return blurred


def _area(curve: tuple[float, ...]) -> float:
    """Integrate over the share of pixels, 0 to 1 (trapezoids)."""
    return (sum(curve) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)
