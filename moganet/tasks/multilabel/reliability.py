"""How well a multi-label network's probabilities mean what they say: its temperature, and each bin of answers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from moganet.numbers import percent
from moganet.report.charts import reliability_chart
from moganet.report.page import Section
from moganet.tasks.calibration import COLDEST, HOTTEST, MIN_IMAGES
from moganet.tasks.evaluator import CALIBRATION_BINS
from moganet.tasks.multilabel.answers import sigmoid
from moganet.tasks.multilabel.figures import calibration_error, cross_entropy
from moganet.tasks.report import Answers


def numbers(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Give the logits (n, classes), and what the images have (n, classes)."""
    return answers.outputs.numpy(), answers.targets.numpy() > 0


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float | None:
    """Find what logits (N, classes) are to be divided by for the least cross-entropy; None at a bound."""
    bounds = (math.log(COLDEST), math.log(HOTTEST))
    best = minimize_scalar(lambda log: cross_entropy(logits / math.exp(log), truth), bounds=bounds, method="bounded").x
    return math.exp(best) if bounds[0] + 0.01 < best < bounds[1] - 0.01 else None


def fit(validation: Answers) -> tuple[Mapping[str, Any], str]:
    """Fit a temperature; say why there is none."""
    number = len(validation)
    if number < MIN_IMAGES:
        return {}, f"{number} validation images are too few to fit a temperature on ({MIN_IMAGES} are needed)."
    temperature = fit_temperature(*numbers(validation))
    if temperature is None:
        return {}, f"No temperature fits {number:,} validation images: the best is at its bound."
    return {"temperature": temperature}, ""


def reliability_section(
    logits: np.ndarray, truth: np.ndarray, temperature: float | None, source: str
) -> tuple[Section, list[float]]:
    """Show how many of the answers of each probability are right, before and after scaling; give the errors too."""
    right, errors, charts = truth.ravel().astype(float), list[float](), []
    scaled = [(f"At temperature {temperature:.2f}", temperature)] if temperature else []
    for name, scale in [("As trained", 1.0), *scaled]:
        sure = sigmoid(logits / scale)
        errors.append(calibration_error(sure, truth))
        alt = f"{name}: share of answers that are right against probability; calibration error {percent(errors[-1])}."
        chart = reliability_chart(sure.ravel(), right, CALIBRATION_BINS, alt, "answers")
        charts.append((f"{name}: error {percent(errors[-1])}", chart))
    title = f"Its probabilities are off by {percent(errors[0])} on average"
    title += f", and by {percent(errors[1])} at temperature {temperature:.2f}" if temperature else ""
    content = {"charts": charts, "bins": CALIBRATION_BINS, "source": source}
    return Section("Reliability", title, "moganet.tasks.multilabel/reliability.html", content), errors
