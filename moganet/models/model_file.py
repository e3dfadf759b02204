"""The self-contained model file: tensors, and in the metadata all that is needed to use and to check them."""

import base64
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import Field, ValidationError, field_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from moganet.config import Architecture, Preprocessing, Settings
from moganet.data.preprocess import decode, preprocess
from moganet.errors import OutputError, WeightsError
from moganet.files import atomic_path
from moganet.models.formats import (
    DESCRIPTION_KEY,
    check_values,
    checked_state,
    description_in,
    read_content,
)
from moganet.models.formats import (
    hash_tensors as hash_tensors,
)
from moganet.models.provenance import without_places
from moganet.notices import say
from moganet.tasks.classify.description import Reject

METADATA_KEY, SEAL = DESCRIPTION_KEY, "seal"
MAX_DESCRIPTION = 64 << 20  # characters; a million names, recipe and pictures have fewer
NUM_FIXTURES = 4
# What of a provenance is read again.
KINDS: dict[str, type] = {
    **dict.fromkeys(("recipe", "recipe.data", "versions"), dict),
    **dict.fromkeys(("data", "source", "file", "fingerprint"), str),
}
FIXTURE_SIDE = 160  # pixels; a fixture must be small, not pretty
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]  # of one beyond, nothing is left of the logits


class Fixture(Settings):
    """An image (PNG in base64) and the logits that the plain network must give for it, in float32."""

    png: str
    logits: tuple[float, ...]


class ModelDescription(Settings):
    """What a model file says of its tensors.

    temperature: what the logits are divided by for calibrated probabilities, fitted on validation images.
    reject: above which energy an image is unlike the training images, found on validation images.
    provenance: recipe, data, seed, versions, measured accuracy. sha256: over the tensors' names, types, shapes, bytes.
    """

    version: int = 1
    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    temperature: Temperature | None = None
    reject: Reject | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    sha256: str = ""
    fixtures: tuple[Fixture, ...] = ()

    @field_validator("provenance")
    @classmethod
    def _of_known_kinds(cls, provenance: dict[str, Any]) -> dict[str, Any]:
        """Refuse what the verbs would stumble over; what they do not know may be anything."""
        recipe = provenance.get("recipe")
        data = recipe.get("data") if isinstance(recipe, dict) else None
        source = data.get("source") if isinstance(data, dict) else None
        for name, kind in KINDS.items():
            value = {"recipe.data": data, "source": source}.get(name, provenance.get(name))
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
        return provenance


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


def replay_fixtures(description: ModelDescription, logits_of: Any) -> float:
    """Give the largest deviation of `logits_of` (B, C, H, W) -> (B, classes) from the recorded logits."""
    worst = 0.0
    for fixture in description.fixtures:
        x = preprocess(decode(_picture(fixture), description.preprocessing.channels), description.preprocessing)
        given, expected = logits_of(x[None])[0].float().cpu(), torch.tensor(fixture.logits)
        if given.shape != expected.shape:
            raise WeightsError(f"a fixture has {len(expected)} logits, but the model gives {len(given)}")
        deviation = (given - expected).abs().max().item()
        worst = max(worst, deviation if math.isfinite(deviation) else math.inf)
    return worst


def _picture(fixture: Fixture) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(fixture.png, validate=True)), formats=["PNG"])
        if max(image.size) > FIXTURE_SIDE:
            raise ValueError(f"it has {image.size[0]}x{image.size[1]} pixels")
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise WeightsError(f"a fixture is no small PNG picture ({str(error)[:100]})") from None
    return image


def save_model_file(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> None:
    """Write a model file whole or not at all; the hash is computed here."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    refuse_equal_names(description.class_names, path)
    described = description.changed(sha256=hash_tensors(tensors))
    # One key only: safetensors writes several in a random order, and equal models shall make equal files.
    metadata = {METADATA_KEY: describe_as_json(described)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)


def published(description: ModelDescription) -> ModelDescription:
    """Give a description as others may have it: its provenance names data and models, and no places."""
    return description.changed(provenance=without_places(description.provenance))


def describe_as_json(description: ModelDescription) -> str:
    """Give a description as JSON, without places, and sealed by its own hash: a flipped bit in it is noticed too."""
    plain = json.loads(json.dumps(published(description).model_dump(mode="json", exclude_none=True)))
    return json.dumps({**plain, SEAL: seal_of(plain)})


def seal_of(plain: dict[str, Any]) -> str:
    """Give the hash by which a text of JSON is sealed."""
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def parse_description(text: str, path: Path) -> ModelDescription:
    """Read a description's JSON. Raises WeightsError that names the file."""
    if len(text) > MAX_DESCRIPTION:
        raise WeightsError(f"{path} has a description of {len(text):,} characters; ours have fewer")
    try:
        plain = json.loads(text)
        seal = plain.pop(SEAL, None)
        if seal is not None and seal != seal_of(plain):
            raise WeightsError(f"{path} is damaged: its description was changed; train or download it again")
        return ModelDescription.model_validate(plain)
    except (ValidationError, json.JSONDecodeError, RecursionError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} has a description that can't be read: {reason}") from None


def check_names(description: ModelDescription, outputs: int, path: Path) -> None:
    """Raise WeightsError where a description does not name each of a head's outputs; say which names are equal."""
    names = description.class_names
    if len(names) != outputs:
        raise WeightsError(
            f"{path} names {len(names):,} classes for a head of {outputs:,}; its description is of another network"
        )
    if (equal := _equal(names)) is not None:
        say(
            f"{path.name} names {equal[1]} of its classes {equal[0]!r}: their probabilities stand apart, and what goes "
            "by name takes the first; name them apart in config.json of a hub folder",
            doubtful=True,
        )


def refuse_equal_names(names: Sequence[str], path: Path) -> None:
    """Raise OutputError for two classes of one name, which nobody could tell apart in an answer."""
    if (equal := _equal(names)) is not None:
        raise OutputError(f"{path} is not written: {equal[1]} classes are named {equal[0]!r}; name them apart")


def _equal(names: Sequence[str]) -> tuple[str, int] | None:
    name, number = next(iter(Counter(names).most_common(1)), ("", 0))
    return (name, number) if number > 1 else None


def check_hash(state: Mapping[str, Tensor], description: ModelDescription, path: Path) -> None:
    """Raise WeightsError where tensors do not have the hash that was recorded."""
    if hash_tensors(state) != description.sha256:
        raise WeightsError(
            f"{path} is damaged: its tensors do not have the hash that was recorded; train or download it again"
        )


def load_model_file(path: Path) -> tuple[dict[str, Tensor], ModelDescription]:
    """Read a model file's tensors and description.

    Raises WeightsError where it is damaged, changed (the hash), or a file of another kind.
    """
    content = read_content(path)
    text = description_in(content.metadata, path)
    if text is None:
        raise WeightsError(f"{path} holds tensors without a description, so it is no model file of ours")
    description = parse_description(text, path)
    state = checked_state(content.values, path)
    check_hash(state, description, path)
    check_values(state, path)
    return state, description
