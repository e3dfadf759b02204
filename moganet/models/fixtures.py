"""A model's fixtures: a few small pictures, and what the network must give for them."""

import base64
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from moganet.config import Preprocessing
from moganet.data.preprocess import decode, preprocess
from moganet.errors import WeightsError
from moganet.models.description import Fixture, ModelDescription

NUM_FIXTURES = 4
FIXTURE_SIDE = 160  # pixels; a fixture must be small, not pretty
NOISE_SIDE = 32  # pixels of those that a model without images of its own gets
NOISE_CHANNELS = (1, 3)  # what a PNG can show


def make_fixtures(network: nn.Module, preprocessing: Preprocessing, images: Sequence[Tensor]) -> tuple[Fixture, ...]:
    """Record what the network gives for the first images, uint8 (C, H, W), scaled down where they are large."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    fixtures = []
    for image in images[:NUM_FIXTURES]:
        array = image.cpu().numpy()
        picture = Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
        picture.thumbnail((FIXTURE_SIDE, FIXTURE_SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        x = preprocess(decode(picture, preprocessing.channels), preprocessing)
        with torch.inference_mode():
            logits = network(x[None].to(device)).float().cpu()[0]
        if not bool(logits.isfinite().all()):
            raise WeightsError("the network's answer to an image is not finite (NaN or infinite)")
        fixtures.append(Fixture(png=base64.b64encode(buffer.getvalue()).decode(), logits=tuple(logits.tolist())))
    network.train(was_training)
    return tuple(fixtures)


def replay_fixtures(description: ModelDescription, logits_of: Callable[[Tensor], Tensor]) -> float:
    """Give the largest deviation of `logits_of` (B, C, H, W) -> (B, classes) from the recorded logits."""
    worst = 0.0
    for fixture, x in zip(description.fixtures, fixture_inputs(description), strict=True):
        given, expected = logits_of(torch.from_numpy(x))[0].float().cpu(), torch.tensor(fixture.logits)
        if given.shape != expected.shape:
            raise WeightsError(f"a fixture has {len(expected)} logits, but the model gives {len(given)}")
        deviation = (given - expected).abs().max().item()
        worst = max(worst, deviation if math.isfinite(deviation) else math.inf)
    return worst


def fixture_inputs(description: ModelDescription) -> list[np.ndarray]:
    """Give the network's input (1, C, H, W) for each fixture."""
    own = description.preprocessing
    return [preprocess(decode(_picture(one), own.channels), own)[None].numpy() for one in description.fixtures]


def _picture(fixture: Fixture) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(fixture.png, validate=True)), formats=["PNG"])
        if max(image.size) > FIXTURE_SIDE:
            raise ValueError(f"it has {image.size[0]}x{image.size[1]} pixels")
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise WeightsError(f"a fixture is no small PNG picture ({str(error)[:100]})") from None
    return image


def with_fixtures(network: nn.Module, description: ModelDescription) -> ModelDescription:
    """Give a description with fixtures: its own, else of noise, where a picture can show its channels."""
    channels = description.preprocessing.channels
    if description.fixtures or channels not in NOISE_CHANNELS:
        return description
    noise = np.random.RandomState(0)
    shape = (channels, NOISE_SIDE, NOISE_SIDE)
    pictures = [torch.from_numpy(noise.randint(0, 256, shape, dtype=np.uint8)) for _ in range(NUM_FIXTURES)]
    return description.changed(fixtures=make_fixtures(network, description.preprocessing, pictures))
