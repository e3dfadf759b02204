"""What validation images say of a model's answers: the temperature that makes probabilities mean what they say
(Guo et al. 2017), and the energy above which an image is none of its kind (Liu et al. 2020).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from moganet.tasks.classify.description import Reject

KEPT = 0.95
MIN_IMAGES = 100  # of validation, for either: benchmarks/temperature.py measures what fewer do
COLDEST, HOTTEST = 0.05, 20.0  # where every validation image is right, no temperature is low enough


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the number by which logits (N, classes) are to be divided for the least cross-entropy.

    logits, labels: of validation images, which were not trained on.
    """
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
        return (
            f"the temperature that fits {num_images} validation images best is at its bound of {HOTTEST:g} and is not "
            "used: the answers are no better than guesses on them"
        )
    if temperature <= COLDEST * 1.001 or not num_errors:  # the colder, the better, down to the bound
        return (
            f"the temperature that fits {num_images} validation images best is at its bound of {COLDEST:g} and is not "
            f"used: there are {num_errors or 'no'} errors to fit it on"
        )
    return None


def energy(logits: Tensor) -> Tensor:
    """Give the energy (N,) of logits (N, classes): the higher, the less an image is like what was trained on."""
    return -logits.double().logsumexp(1)


def fit_reject(logits: Tensor) -> Reject:
    """Find the energy below which nineteen of twenty validation images lie, by their logits (N, classes)."""
    energies = energy(logits)
    threshold = energies.quantile(KEPT).item()
    return Reject(threshold=threshold, kept=(energies <= threshold).double().mean().item(), num_images=len(energies))
