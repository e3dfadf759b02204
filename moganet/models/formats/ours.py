"""Our model file: safetensors with its description in the metadata; and a run's last.ckpt, which has one too."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from moganet.errors import WeightsError
from moganet.files import atomic_path
from moganet.models.choices import Choices
from moganet.models.description import (
    DESCRIPTION_KEY,
    ModelDescription,
    describe_as_json,
    description_in,
    refuse_equal_names,
)
from moganet.models.formats.format import Format
from moganet.models.reading.checkpoint import Checkpoint, check_hash, check_values, checked_state, hash_tensors
from moganet.models.reading.contents import Content, read_content

RUN_KEY, RUN_PREFIX = DESCRIPTION_KEY, "network."  # of the description in a last.ckpt, before the names of tensors


def is_ours(content: Content) -> bool:
    """Tell whether a file has a description of ours."""
    return content.kind == "safetensors" and description_in(content.metadata, content.path) is not None


def read_ours(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content. Raises WeightsError where it is damaged or was changed (the hash)."""
    description = description_in(content.metadata, content.path)
    if description is None:
        raise WeightsError(f"{content.path} holds tensors without a description, so it is no model file of ours")
    state = checked_state(content.values, content.path)
    check_hash(state, description.sha256, content.path)
    return Checkpoint("model file", state, description=description)


def save_model_file(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> None:
    """Write a model file whole or not at all; the hash is computed here."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    refuse_equal_names(description.class_names, path)
    described = description.changed(sha256=hash_tensors(tensors))
    # One key only: safetensors writes several in a random order, and equal models shall make equal files.
    metadata = {DESCRIPTION_KEY: describe_as_json(described)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_model_file(path: Path) -> tuple[dict[str, Tensor], ModelDescription]:
    """Read a model file's tensors and description. Raises WeightsError for one that is damaged, or no model file."""
    checkpoint = read_ours(read_content(path), Choices())
    check_values(checkpoint.state, path)
    assert checkpoint.description is not None
    return dict(checkpoint.state), checkpoint.description


def is_run(content: Content) -> bool:
    """Tell whether a file is a checkpoint of a training of ours."""
    values = content.values
    if content.kind != "torch" or not isinstance(values, dict) or not isinstance(values.get(RUN_KEY), str):
        return False
    state = values.get("state_dict")
    return isinstance(state, dict) and any(str(name).startswith(RUN_PREFIX) for name in state)


def read_run(content: Content, choices: Choices) -> Checkpoint:
    """Read the network out of a training's checkpoint."""
    description = description_in({RUN_KEY: content.values[RUN_KEY]}, content.path)
    state = content.values["state_dict"]
    own = {n.removeprefix(RUN_PREFIX): t for n, t in state.items() if str(n).startswith(RUN_PREFIX)}
    return Checkpoint("run's checkpoint", checked_state(own, content.path), description=description)


RUN_FORMAT = Format("a run's last.ckpt", is_run, read_run)
FORMAT = Format("our model file", is_ours, read_ours, save_model_file, (".safetensors",), lambda architecture: True)
