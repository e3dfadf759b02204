"""The self-contained model file: tensors, and in the metadata all that is needed to use and to check them."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from moganet.config import Architecture, Preprocessing, Settings
from moganet.data.preprocess import decode, preprocess
from moganet.errors import WeightsError
from moganet.files import atomic_path

METADATA_KEY = "moganet"
NUM_FIXTURES = 4
FIXTURE_SIDE = 160  # pixels; a fixture must be small, not pretty


class Fixture(Settings):
    """An image (PNG in base64) and the logits that the plain network must give for it, in float32."""

    png: str
    logits: tuple[float, ...]


class ModelDescription(Settings):
    """What a model file says of its tensors.

    provenance: recipe, data, seed, versions, measured accuracy. sha256: over the tensors' names, types, shapes, bytes.
    """

    version: int = 1
    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    temperature: float | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    sha256: str = ""
    fixtures: tuple[Fixture, ...] = ()


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of a state dict's names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
        fixtures.append(Fixture(png=base64.b64encode(buffer.getvalue()).decode(), logits=tuple(logits.tolist())))
    network.train(was_training)
    return tuple(fixtures)


def replay_fixtures(description: ModelDescription, logits_of: Any) -> float:
    """Give the largest deviation of `logits_of` (B, C, H, W) -> (B, classes) from the recorded logits."""
    worst = 0.0
    for fixture in description.fixtures:
        image = Image.open(io.BytesIO(base64.b64decode(fixture.png)))
        x = preprocess(decode(image, description.preprocessing.channels), description.preprocessing)
        given = logits_of(x[None])[0].float().cpu()
        worst = max(worst, (given - torch.tensor(fixture.logits)).abs().max().item())
    return worst


def save_model_file(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> None:
    """Write a model file whole or not at all; the hash is computed here."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    described = description.model_copy(update={"sha256": hash_tensors(tensors)})
    # One key only: safetensors writes several in a random order, and equal models shall make equal files.
    metadata = {METADATA_KEY: json.dumps(described.model_dump(mode="json", exclude_none=True))}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)


def is_safetensors(path: Path) -> bool:
    """Tell whether a file starts as safetensors does: eight bytes of length, then a JSON object."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def parse_description(text: str, path: Path) -> ModelDescription:
    """Read a description's JSON. Raises WeightsError that names the file."""
    try:
        return ModelDescription.model_validate(json.loads(text))
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} has a description that can't be read: {str(error).splitlines()[0]}") from None


def load_model_file(path: Path) -> tuple[dict[str, Tensor], ModelDescription]:
    """Read a model file's tensors and description.

    Raises WeightsError where it is damaged, changed (the hash), or a safetensors file of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}); train or download it again") from None
    if METADATA_KEY not in metadata:
        raise WeightsError(f"{path} holds tensors without a description, so it is no model file of ours")
    description = parse_description(metadata[METADATA_KEY], path)
    if hash_tensors(state) != description.sha256:
        raise WeightsError(
            f"{path} is damaged: its tensors do not have the hash that was recorded; train or download it again"
        )
    return state, description
