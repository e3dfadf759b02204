"""A model's fixtures, replayed: a few small pictures, and what the network must give for them; without torch."""

import base64
import importlib
import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from moganet.config import Preprocessing
from moganet.data import resample
from moganet.data.read import read_pixels
from moganet.errors import WeightsError
from moganet.models.description import Fixture, ModelDescription
from moganet.tasks.task import Outputs

SCORES, CORNERS = 10, 100.0  # how many scores are kept of boxes; pixels that corners are counted in
FIXTURE_SIDE = 160  # pixels; a fixture must be small, not pretty


def replay_fixtures(description: ModelDescription, outputs_of: Callable[[np.ndarray], Outputs]) -> float:
    """Give the largest deviation of `outputs_of` images (B, C, H, W) from what is recorded of them."""
    worst = 0.0
    for fixture, x in zip(description.fixtures, fixture_inputs(description), strict=True):
        given, expected = recorded(outputs_of(x)), np.array(fixture.logits, np.float32)
        if given.shape != expected.shape:
            raise WeightsError(f"a fixture has {len(expected)} logits, but the model gives {len(given)}")
        deviation = float(np.abs(given - expected).max())
        worst = max(worst, deviation if math.isfinite(deviation) else math.inf)
    return worst


def recorded(outputs: Outputs) -> np.ndarray:
    """Give what a fixture keeps of the outputs for one image: logits of classes (classes,); of maps means.

    The means are of the four quarters of the image, so that a map that is turned or flipped is noticed. Of boxes the
    highest scores are kept, and the mean corners, each box as its score: order and the last of them tell nothing.
    """
    values = values_of_places(outputs)
    if values is None:
        scores, boxes = (np.asarray(outputs[name][0], np.float64) for name in ("scores", "boxes"))
        corners = (scores[:, None] * boxes).sum(0) / max(1.0, float(scores.sum())) / CORNERS
        return np.concatenate([-np.sort(-scores)[:SCORES], corners]).astype(np.float32)
    logits = np.asarray(values[0], np.float32)
    if logits.ndim == 1:
        return logits
    halves = [np.array_split(half, 2, axis=2) for half in np.array_split(logits, 2, axis=1)]
    return np.concatenate([part.mean((1, 2), np.float64) for half in halves for part in half]).astype(np.float32)


def values_of_places(outputs: Outputs) -> np.ndarray | None:
    """Give the logits of classes or pixels, or the heat maps of key points; None of outputs that are boxes."""
    return next((outputs[name] for name in ("logits", "heatmaps") if name in outputs), None)


def fixture_inputs(description: ModelDescription) -> list[np.ndarray]:
    """Give the network's input (1, C, H, W) for each fixture."""
    return [_input(fixture, description.preprocessing) for fixture in description.fixtures]


def _input(fixture: Fixture, own: Preprocessing) -> np.ndarray:
    pixels = read_pixels(_picture(fixture), own.channels)[None]
    have = pixels.shape[-2], pixels.shape[-1]
    if fixture.resized_by == "pillow" or [*have] == resample.target_size(have, own):
        return resample.preprocess(pixels, own)
    torch, preprocess = importlib.import_module("torch"), importlib.import_module("moganet.data.preprocess")
    made: np.ndarray = preprocess.preprocess(torch.from_numpy(pixels), own).numpy()
    return made


def _picture(fixture: Fixture) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(fixture.png, validate=True)), formats=["PNG"])
        if max(image.size) > FIXTURE_SIDE:
            raise ValueError(f"it has {image.size[0]}x{image.size[1]} pixels")
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise WeightsError(f"a fixture is no small PNG picture ({str(error)[:100]})") from None
    return image
