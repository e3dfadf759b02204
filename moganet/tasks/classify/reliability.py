"""How well a classifier knows its errors: a temperature (Guo et al. 2017), an energy to reject by (Liu et al. 2020)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moganet.errors import MogaNetError
from moganet.notices import say
from moganet.report.charts import reliability_chart
from moganet.report.numbers import percent
from moganet.report.page import Section
from moganet.tasks.classify.answers import energy
from moganet.tasks.classify.classified import ROOM
from moganet.tasks.classify.description import ClassifyDescription, Reject
from moganet.tasks.classify.evaluator import CALIBRATION_BINS, calibration_error
from moganet.tasks.report import Answers, Seen

KEPT = 0.95
MIN_IMAGES = 100  # of validation, for either: benchmarks/temperature.py measures what fewer do
COLDEST, HOTTEST = 0.05, 20.0  # where every validation image is right, no temperature is low enough


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


def calibrate(seen: Seen) -> tuple[float | None, str]:
    """Take the model's temperature, or fit one and keep it; say what it was fitted on, or why there is none."""
    same = " It was fitted on these same images, so that the error after is flattering."
    same = same if seen.validation is seen.answers else ""
    if seen.description.temperature is not None:
        return seen.description.temperature, f"The temperature is the one that the model file keeps.{same}"
    if seen.validation is None or len(seen.class_names) < 2:
        return None, "There are no validation images of the model to fit a temperature on."
    logits, labels = seen.validation.outputs, seen.validation.targets
    temperature = fit_temperature(logits, labels)
    refused = why_no_temperature(temperature, len(labels), int((logits.argmax(1) != labels).sum()))
    if refused is None:
        source = f"The temperature was fitted on {len(labels):,} validation images.{same}"
        return temperature, source + _keep(seen, logits, temperature)
    say(refused)
    return None, f"{refused[0].upper()}{refused[1:]}." + _keep(seen, logits, None)


def _keep(seen: Seen, logits: Tensor, temperature: float | None) -> str:
    """Keep a temperature, where there is one, and a reject threshold; say what became of the temperature."""
    if seen.keep is None:
        return " It is not kept: these are no validation images of the model." if temperature is not None else ""
    if len(logits) < MIN_IMAGES:
        return ""
    assert isinstance(seen.description, ClassifyDescription)
    try:
        seen.keep(seen.description.changed(temperature=temperature, reject=fit_reject(logits)))
    except (MogaNetError, OSError) as error:
        say(f"what was found on validation images could not be kept in the model's file: {error}", doubtful=True)
        return " It could not be kept in the model's file."
    return " It is kept in the model file, for moganet predict --calibrated." if temperature is not None else ""


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
