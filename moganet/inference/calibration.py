"""Temperature scaling: one number that makes a model's probabilities mean what they say (Guo et al. 2017)."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from moganet.inference.model_file import load_model_file, save_model_file

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


def keep_temperature(path: Path, temperature: float) -> None:
    """Write a temperature into a model file; its tensors stay bit for bit what they are."""
    state, description = load_model_file(path)
    save_model_file(path, state, description.model_copy(update={"temperature": temperature}))
