"""What validation images give: a temperature for probabilities (Guo et al. 2017), an energy to reject by (Liu 2020)."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moganet.tasks.classify.answers import energy
from moganet.tasks.classify.description import Reject

KEPT = 0.95
MIN_IMAGES = 100  # of validation, for either: benchmarks/temperature.py measures what fewer do
COLDEST, HOTTEST = 0.05, 20.0  # where every validation image is right, no temperature is low enough


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find what validation images' logits (N, classes) are to be divided by for the least cross-entropy."""
    logits, log_temperature = logits.double(), torch.zeros((), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.clamp(math.log(COLDEST), math.log(HOTTEST)).exp(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return min(max(log_temperature.detach().exp().item(), COLDEST), HOTTEST)


def why_no_temperature(temperature: float, num_images: int, num_errors: int) -> str | None:
    """Say why a fitted temperature is not to be used, where it is not."""
    if num_images < MIN_IMAGES:
        return f"{num_images} validation images are too few to fit a temperature on ({MIN_IMAGES} are needed)"
    if temperature >= HOTTEST * 0.999:
        bound, why = HOTTEST, "the answers are no better than guesses on them"
    elif temperature <= COLDEST * 1.001 or not num_errors:  # the colder, the better, down to the bound
        bound, why = COLDEST, f"there are {num_errors or 'no'} errors to fit it on"
    else:
        return None
    best = f"the temperature that fits {num_images} validation images best"
    return f"{best} is at its bound of {bound:g} and is not used: {why}"


def fit_reject(logits: Tensor) -> Reject:
    """Find the energy below which nineteen of twenty validation images lie, by their logits (N, classes)."""
    energies = energy(logits.numpy())
    threshold = float(np.quantile(energies, KEPT))
    return Reject(threshold=threshold, kept=float((energies <= threshold).mean()), num_images=len(energies))
