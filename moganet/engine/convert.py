"""`convert`: any MODEL as our model file, a hub folder, the official layout, or the PaddlePaddle port's."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from moganet.config import Architecture
from moganet.errors import ConfigError, OutputError
from moganet.inference import ModelDescription, read_model, save_model_file
from moganet.models.build import build_from
from moganet.models.formats import Choices, hash_tensors, is_hub_folder
from moganet.models.formats.hub import CONFIG, TENSORS, is_ours, write_config
from moganet.models.formats.official import write_official
from moganet.models.formats.paddle import write_paddle
from moganet.models.model_file import NUM_FIXTURES, describe_as_json, make_fixtures, refuse_equal_names
from moganet.models.read import ModelContents, describe
from moganet.notices import noted, say

Target = Literal["model", "hub", "official", "paddle"]
SUFFIXES: dict[str, Target] = {
    ".safetensors": "model",
    ".pth": "official",
    ".pth.tar": "official",
    ".pdparams": "paddle",
    "": "hub",
}
PICTURE_SIDE = 32  # pixels of the fixtures that a model without images of its own gets
PICTURE_CHANNELS = (1, 3)  # what a PNG can show
# What the other networks compute; another function is kept in our description, which they do not read.
OFFICIAL = {"gate": "single", "channel_aggregation": "reference"}
PORT = {"gate": "single", "channel_aggregation": "paddle"}


@noted
def convert(what: str | Path, out: str | Path, target: Target | None = None, **choices: Any) -> dict[str, Any]:
    """Write a model in another format; its tensors stay bit for bit what they are.

    target: "model" (ours, one file), "hub" (a folder for timm and the hub), "official" (.pth.tar) or "paddle"
        (.pdparams); None goes by the name of `out`, where a name without suffix is a hub folder.
    choices: as in `load`.
    Gives `out`, `target`, what was chosen from the file, `tensors`, `parameters`, and `warnings`.
    """
    out = Path(out)
    target = target or _target(out)
    if target not in get_args(Target):
        raise ConfigError(f"there is no format {target!r} to write; choose one of {', '.join(get_args(Target))}")
    if out.resolve() == Path(what).resolve():
        raise OutputError(f"{out} is the model itself; choose another place")
    contents = read_model(what, Choices(**choices))
    state, description = complete(contents)
    refuse_equal_names(description.class_names, out)
    warnings = WRITERS[target](out, state, description)
    for warning in warnings:
        say(warning, doubtful=True)
    return {
        "model": str(what),
        "out": str(out),
        "target": target,
        **contents.chosen,
        "name": description.architecture.name,
        "tensors": len(state),
        "parameters": sum(t.numel() for n, t in state.items() if not n.endswith(("_mean", "_var", "_tracked"))),
        "fixtures": len(description.fixtures),
        "warnings": warnings,
    }


def _target(out: Path) -> Target:
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if s and out.name.endswith(s)), out.suffix)
    if suffix not in SUFFIXES:
        known = ", ".join(filter(None, SUFFIXES))
        raise ConfigError(f"{out} does not say its format; end it in {known}, or give --to")
    return SUFFIXES[suffix]


def complete(contents: ModelContents) -> tuple[dict[str, Tensor], ModelDescription]:
    """Give all tensors of the network, and a description with fixtures. The tensors may lie in the file."""
    network = build_from(contents, share=True).eval()
    description = contents.description
    channels = description.preprocessing.channels
    if not description.fixtures and channels in PICTURE_CHANNELS:
        noise = np.random.RandomState(0)
        pictures = [
            torch.from_numpy(noise.randint(0, 256, (channels, PICTURE_SIDE, PICTURE_SIDE), dtype=np.uint8))
            for _ in range(NUM_FIXTURES)
        ]
        fixtures = make_fixtures(network, description.preprocessing, pictures)
        description = description.changed(fixtures=fixtures)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}, description


def write_model(out: Path, state: dict[str, Tensor], description: ModelDescription) -> list[str]:
    """Write our model file."""
    save_model_file(out, state, description)
    return []


def write_hub(out: Path, state: dict[str, Tensor], description: ModelDescription) -> list[str]:
    """Write a hub folder; its model.safetensors is our model file, whose tensors timm reads."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; a hub folder needs another name")
    if os.path.lexists(out / CONFIG) and not (is_hub_folder(out) and is_ours(out)):
        raise OutputError(f"{out / CONFIG} is there, is of no MogaNet, and would be replaced; choose another folder")
    save_model_file(out / TENSORS, state, description)
    write_config(out, description.architecture, description.preprocessing, description.class_names)
    return []


def _write_official(out: Path, state: dict[str, Tensor], description: ModelDescription) -> list[str]:
    described = description.changed(sha256=hash_tensors(state))
    write_official(out, state, description.architecture.name, describe_as_json(described))
    return _differences(description.architecture, OFFICIAL, "the official code")


def _write_paddle(out: Path, state: dict[str, Tensor], description: ModelDescription) -> list[str]:
    write_paddle(out, state, None if _port_says_it(description) else describe_as_json(description))
    return _differences(description.architecture, PORT, "the PaddlePaddle port")


WRITERS: dict[str, Callable[[Path, dict[str, Tensor], ModelDescription], list[str]]] = {
    "model": write_model,
    "hub": write_hub,
    "official": _write_official,
    "paddle": _write_paddle,
}


def _port_says_it(description: ModelDescription) -> bool:
    """Tell whether the arrays alone would be read as the same function, classes and preprocessing."""
    architecture = description.architecture
    shape = {"name", "num_classes", "in_chans", "embed_dims", "depths", "mlp_ratios"}  # the arrays show these
    rest, blank = architecture.model_dump(exclude=shape), Architecture().model_dump(exclude=shape)
    bare = describe(architecture, {})
    same = (bare.preprocessing, bare.task) == (description.preprocessing, description.task)
    return rest == {**blank, **PORT} and same


def _differences(architecture: Architecture, theirs: dict[str, str], who: str) -> list[str]:
    own = {name: getattr(architecture, name) for name in theirs}
    if own == theirs:
        return []
    text = ", ".join(f"{name} {own[name]} (there: {theirs[name]})" for name in theirs if own[name] != theirs[name])
    return [f"{who} would compute another function with these weights than they were trained with: {text}"]
