"""The PaddlePaddle port's `.pdparams`: a pickled dict of numpy arrays, and a function of its own."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moganet.config import Architecture
from moganet.errors import WeightsError
from moganet.files import atomic_path
from moganet.models.choices import Choices
from moganet.models.description import DESCRIPTION_KEY, ModelDescription, describe_as_json, description_in
from moganet.models.formats.format import Format, differences
from moganet.models.reading.checkpoint import COUNTER, Checkpoint, checked_state, hash_tensors
from moganet.models.reading.contents import Content
from moganet.models.reading.networks import choose_network, find_networks
from moganet.models.timms import describe

HASH_KEY = "moganet_sha256"  # over what the file holds, as it is read
MARK = "patch_embed1.proj.0.weight"  # a name that every network of the port has

# The port's names against the reference's; # stands for a digit. Applied in this order, to read and to write.
NAMES = (
    ("patch_embed1.norm.", "patch_embed1.projection.4."),
    ("patch_embed#.proj.", "patch_embed#.projection."),
    (".attn.proj#.", ".attn.proj_#."),
    (".value.dwconv#.", ".value.DW_conv#."),
    (".value.pwconv.", ".value.PW_conv."),
    (".ffn.", ".mlp."),
    (".layer_scales#", ".layer_scale_#"),
    ("._mean", ".running_mean"),
    ("._variance", ".running_var"),
)
TO_PORT = tuple((ours, theirs) for theirs, ours in NAMES)
TO_OURS = (*NAMES, (".layer_scale#", ".layer_scale_#"), (".layer_scales_#", ".layer_scale_#"))  # older spellings
PORT = {"gate": "single", "channel_aggregation": "paddle"}  # what its code computes
REASONS = {"gate": "as in the port", "channel_aggregation": "the port's function, which leaves `decompose` unused"}


def is_paddle(content: Content) -> bool:
    """Tell whether a file has this format's keys."""
    return content.kind == "arrays" and bool(find_networks(content.values, MARK))


def read_paddle(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content. The port computes the channel aggregation without `decompose`, and so does the result."""
    chosen = choose_network(content, choices, find_networks(content.values, MARK))
    state: dict[str, Tensor] = {}
    for name, array in chosen.network.state.items():
        if isinstance(array, np.ndarray):
            tensor = _as_tensor(array)
            # Paddle's Linear is (in, out).
            state[_rename(name, TO_OURS)] = tensor.T.contiguous() if name == "head.weight" else tensor
    state = checked_state(state, content.path)
    recorded = content.values.get(HASH_KEY)
    if recorded is not None and recorded != hash_tensors(state):
        raise WeightsError(
            f"{content.path} is damaged: its arrays do not have the hash that was recorded; make it anew"
        )
    described = description_in(content.values, content.path)
    return chosen.checkpoint("paddle", state, REASONS, channel_aggregation="paddle", description=described)


def _as_tensor(array: np.ndarray) -> Tensor:
    native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # the file's bytes; nobody writes into them
        return torch.from_numpy(native)


def _rename(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for had, now in renames:
        name = re.sub(re.escape(had).replace(r"\#", r"(\d)"), now.replace("#", r"\1"), name)
    return name


def write_paddle(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write a pickle of arrays for `paddle.load`, their hash, and the description where they don't say it all."""
    warnings = differences(description.architecture, PORT, "the PaddlePaddle port")
    kept = {name: t for name, t in state.items() if not name.endswith(COUNTER)}  # Paddle counts no batches
    content: dict[str, Any] = {HASH_KEY: hash_tensors(kept)}
    for name, tensor in kept.items():
        array = tensor.detach().cpu().numpy()
        content[_rename(name, TO_PORT)] = np.ascontiguousarray(array.T) if name == "head.weight" else array
    if not _says_it(description):
        content[DESCRIPTION_KEY] = describe_as_json(description)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        pickle.dump(content, file, protocol=4)
    return warnings


def _says_it(description: ModelDescription) -> bool:
    """Tell whether the arrays alone would be read as the same function, classes and preprocessing."""
    architecture = description.architecture
    shape = {"name", "num_classes", "in_chans", "embed_dims", "depths", "mlp_ratios"}  # the arrays show these
    rest, blank = architecture.model_dump(exclude=shape), Architecture().model_dump(exclude=shape)
    bare = describe(architecture, {})
    same = (bare.preprocessing, bare.task) == (description.preprocessing, description.task)
    return rest == {**blank, **PORT} and same


FORMAT = Format("the PaddlePaddle port's .pdparams", is_paddle, read_paddle, write_paddle, (".pdparams",))
