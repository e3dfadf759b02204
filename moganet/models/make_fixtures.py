"""Fixtures of a network: a few small pictures, and what it gives for them."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from moganet.config import Preprocessing
from moganet.data import resample
from moganet.data.read import read_pixels
from moganet.errors import WeightsError
from moganet.models.description import Fixture, ModelDescription
from moganet.models.fixtures import FIXTURE_SIDE, recorded

NUM_FIXTURES = 4
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
        x = torch.from_numpy(resample.preprocess(read_pixels(picture, preprocessing.channels), preprocessing))
        with torch.inference_mode():
            found = network(x[None].to(device))
        found = found if isinstance(found, dict) else {"logits": found}
        logits = recorded({name: values.float().cpu().numpy() for name, values in found.items()})
        if not np.isfinite(logits).all():
            raise WeightsError("the network's answer to an image is not finite (NaN or infinite)")
        png = base64.b64encode(buffer.getvalue()).decode()
        fixtures.append(Fixture(png=png, logits=tuple(logits.tolist()), resized_by="pillow"))
    network.train(was_training)
    return tuple(fixtures)


def with_fixtures(network: nn.Module, description: ModelDescription) -> ModelDescription:
    """Give a description with fixtures: its own, else of noise, where a picture can show its channels."""
    channels = description.preprocessing.channels
    if description.fixtures or channels not in NOISE_CHANNELS:
        return description
    noise = np.random.RandomState(0)
    shape = (channels, NOISE_SIDE, NOISE_SIDE)
    number = NUM_FIXTURES if description.architecture.head is None else 1  # which takes seconds
    pictures = [torch.from_numpy(noise.randint(0, 256, shape, dtype=np.uint8)) for _ in range(number)]
    return description.changed(fixtures=make_fixtures(network, description.preprocessing, pictures))
