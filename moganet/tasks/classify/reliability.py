"""How well a classifier knows its errors: a temperature (Guo et al. 2017), an energy to reject by (Liu et al. 2020)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moganet.notices import say
from moganet.numbers import percent
from moganet.report.charts import reliability_chart
from moganet.report.page import Section
from moganet.tasks.calibration import COLDEST, HOTTEST, MIN_IMAGES
from moganet.tasks.classify.answers import energy
from moganet.tasks.classify.classified import ROOM
from moganet.tasks.classify.description import Reject
from moganet.tasks.classify.evaluator import calibration_error
from moganet.tasks.evaluator import CALIBRATION_BINS
from moganet.tasks.report import Answers

KEPT = 0.95


@dataclass(frozen=True)
class Sureness:
    """Each image's confidence (n,), and the calibration error over all: at a temperature, or as trained."""

    name: str
    confidence: np.ndarray
    error: float


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


def fit(validation: Answers) -> tuple[Mapping[str, Any], str]:
    """Fit a temperature and a threshold to reject by; say why there is no temperature."""
    logits, labels = validation.outputs, validation.targets
    if logits.shape[1] < 2:
        return {}, "There are no validation images of the model to fit a temperature on."
    temperature = fit_temperature(logits, labels)
    refused = why_no_temperature(temperature, len(labels), int((logits.argmax(1) != labels).sum()))
    if refused is None:
        return {"temperature": temperature, "reject": fit_reject(logits)}, ""
    say(refused)
    fitted = {"temperature": None, "reject": fit_reject(logits)} if len(logits) >= MIN_IMAGES else {}
    return fitted, f"{refused[0].upper()}{refused[1:]}."


def sureness(answers: Answers, temperature: float) -> Sureness:
    """Give how sure the answers are at a temperature."""
    logits = answers.outputs / temperature
    error = calibration_error(logits, answers.targets)
    return Sureness(f"At temperature {temperature:.2f}", logits.softmax(1).amax(1).numpy(), error)


def reliability_section(correct: np.ndarray, before: Sureness, after: Sureness | None, source: str) -> Section:
    """Show how often answers of each confidence are right, (n,) bool, before and after scaling."""
    charts, right = [], correct.astype(float)
    for one in [before, after] if after else [before]:
        alt = (
            f"{one.name}: accuracy against confidence. Mean confidence {percent(float(one.confidence.mean()))}, "
            f"accuracy {percent(float(right.mean()))}, calibration error {percent(one.error)}."
        )
        chart = reliability_chart(one.confidence, right, CALIBRATION_BINS, alt)
        charts.append((f"{one.name}: error {percent(one.error)}", chart))
    bias = float(before.confidence.mean() - correct.mean())
    content = {"charts": charts, "bins": CALIBRATION_BINS, "source": source}
    title = say_reliability(bias, before.error, after.error if after else None)
    return Section("Reliability", title, f"{ROOM}/reliability.html", content)


def say_reliability(bias: float, before: float, after: float | None) -> str:
    """Say whether the network is as often right as it claims. bias: mean confidence less accuracy."""
    if abs(bias) < 0.005:
        text = "It is about as often right as it says"
    else:
        text = f"It is {'over' if bias > 0 else 'under'}confident by {100 * abs(bias):.1f} points"
    if after is None:
        return f"{text} (calibration error {percent(before)})"
    if abs(after - before) < 0.0005:
        return f"{text}; temperature scaling changes little (calibration error {percent(before)})"
    verb = "brings" if after < before else "moves"
    return f"{text}; temperature scaling {verb} the calibration error from {percent(before)} to {percent(after)}"
