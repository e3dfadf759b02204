"""What tasks share of calibration: a temperature (Guo et al. 2017) of validation images, kept in the model file."""

from collections.abc import Callable, Mapping
from typing import Any

from moganet.errors import MogaNetError
from moganet.notices import say
from moganet.tasks.report import Answers, Seen

MIN_IMAGES = 100  # of validation, to fit on: benchmarks/temperature.py measures what fewer do
COLDEST, HOTTEST = 0.05, 20.0  # where every validation image is right, no temperature is low enough

# From validation answers to what the description is to say of them, and why no temperature is among it.
Fit = Callable[[Answers], tuple[Mapping[str, Any], str]]


def calibrate(seen: Seen, fit: Fit) -> tuple[float | None, str]:
    """Take the model's temperature, or fit one and keep it; say what it was fitted on, or why there is none."""
    same = " It was fitted on these same images, so that the error after is flattering."
    same = same if seen.validation is seen.answers else ""
    if seen.description.temperature is not None:
        return seen.description.temperature, f"The temperature is the one that the model file keeps.{same}"
    if seen.validation is None:
        return None, "There are no validation images of the model to fit a temperature on."
    fitted, refused = fit(seen.validation)
    fresh = f"The temperature was fitted on {len(seen.validation):,} validation images.{same}"
    return fitted.get("temperature"), (refused or fresh) + _keep(seen, fitted)


def _keep(seen: Seen, fitted: Mapping[str, Any]) -> str:
    """Keep what was fitted, where anything was; say what became of the temperature."""
    found = fitted.get("temperature") is not None
    if seen.keep is None:
        return " It is not kept: these are no validation images of the model." if found else ""
    if not fitted:
        return ""
    try:
        seen.keep(seen.description.changed(**fitted))
    except (MogaNetError, OSError) as error:
        say(f"what was found on validation images could not be kept in the model's file: {error}", doubtful=True)
        return " It could not be kept in the model's file."
    return " It is kept in the model file, for moganet predict --calibrated." if found else ""
