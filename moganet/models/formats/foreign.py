"""The tensors of a network of timm's that a person names: a state dict, bare or under a key, or our model file."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from moganet.config import Architecture, Preprocessing, validate
from moganet.errors import WeightsError
from moganet.models.choices import Choices
from moganet.models.chosen import Chosen
from moganet.models.formats import read_checkpoint
from moganet.models.formats.ours import is_ours
from moganet.models.reading.checkpoint import check_values, checked_state
from moganet.models.reading.contents import read_content
from moganet.models.stored import StoredModel, stored_of
from moganet.models.timms import configuration, describe, ends_of
from moganet.notices import say

KEYS = ("state_dict", "model")  # under which people keep a network's tensors


def read_foreign(name: str, path: Path) -> StoredModel:
    """Read tensors for "timm:NAME"; a safetensors file may say its "preprocessing" (JSON), else it is timm's."""
    content = read_content(path)
    if is_ours(content):
        stored = stored_of(path, read_checkpoint(path), Choices(), {})
        if stored.description.architecture.name != name:
            raise WeightsError(f"{path} is of {stored.description.architecture.name}, not of {name}")
        return stored
    values = content.values
    for key in KEYS:
        values = values[key] if isinstance(values, dict) and isinstance(values.get(key), dict) else values
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no state dict; save the network's state_dict()")
    state, ends = checked_state(values, path), ends_of(Architecture(name=name))
    check_values(state, path)
    stem = state.get(f"{ends.stems[0]}.weight") if ends.stems else None
    channels = configuration(name).get("input_size", (3,))[0] if stem is None or stem.dim() < 2 else stem.shape[1]
    values = {"name": name, "num_classes": ends.outputs(state), "in_chans": channels}
    given = _preprocessing(content.metadata, path)
    source = {"file": path.name} | ({} if given else {"guessed": ["preprocessing"]})
    description = describe(validate(Architecture, values, path.name), source)
    if given is not None:
        if given.channels != channels:
            raise WeightsError(f"{path} is of {channels} channels, but its preprocessing of {given.channels}")
        description = description.changed(preprocessing=given)
    taken = "what its classes are called" if given else "how images are prepared, or what its classes are called"
    say(f"{path.name} does not say {taken}: timm's way and names are taken; a model file of ours says it all")
    chosen = Chosen(format="state dict", weights="plain", reason=f"the tensors of {name}", guessed=())
    return StoredModel(path, state, description, chosen)


def _preprocessing(metadata: Mapping[str, str], path: Path) -> Preprocessing | None:
    if "preprocessing" not in metadata:
        return None
    try:
        return Preprocessing.model_validate(json.loads(metadata["preprocessing"]))
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} describes no preprocessing that is known: {str(error).splitlines()[0]}") from None
