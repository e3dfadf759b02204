"""birder's checkpoint: `state` by names of its own, and what the network was trained on; as .pt or .safetensors.

birder leaves out the biases of convolutions before norms. Here they are zeros; written, they go into the norms' means.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from moganet.config import Architecture, Preprocessing
from moganet.config.settings import describe_error
from moganet.errors import ConfigError, WeightsError
from moganet.files import atomic_path
from moganet.models.choices import Choices
from moganet.models.description import DESCRIPTION_KEY, ModelDescription, describe_as_json, description_in
from moganet.models.formats.format import Format, differences
from moganet.models.reading.checkpoint import Checkpoint, architecture_of, check_hash, checked_state, hash_tensors
from moganet.models.reading.contents import Content
from moganet.models.reading.networks import choose_network, find_networks
from moganet.network import VARIANTS
from moganet.notices import say

MARK = "body.stage1.0.attn.value.dw_conv0.weight"  # a name that every MogaNet of birder's has, and no other network
CLASSES, SIGNATURE, STATS, TASK, CONFIG = "class_to_idx", "signature", "rgb_stats", "task", "config"
CLASSIFICATION = "image_classification"
REASONS = dict.fromkeys(("gate", "channel_aggregation"), "as in birder")

OUR_STEM = "patch_embed1.projection."
STEM = {"stem.0.0.": "0.", "stem.0.1.": "1.", "stem.1.0.": "3.", "stem.1.1.": "4."}
# Each convolution before a norm, and that norm.
BEFORE_NORMS = {f"{OUR_STEM}{first}": f"{OUR_STEM}{first + 1}" for first in (0, 3)}
BEFORE_NORMS |= {f"patch_embed{i}.projection": f"patch_embed{i}.norm" for i in (2, 3, 4)}
STAGE = re.compile(r"body\.stage([1-4])\.(\d{1,6})\.(.+)")
OURS = re.compile(r"(patch_embed|blocks|norm)([1-4])\.(.+)")

# What its code computes, whatever a file says; the channel mixers' ratios can't be chosen there.
BIRDER = {"gate": "single", "channel_aggregation": "reference", "stem_stride": 4, "dilate_last_stage": True}
SPLIT = {"dilations": (1, 2, 3), "channel_split": (1, 3, 4)}
RATIOS = (8, 8, 4, 4)


def is_birder(content: Content) -> bool:
    """Tell whether a file has birder's names anywhere."""
    return content.kind != "arrays" and bool(find_networks(content.values, MARK))


def read_birder(content: Content, choices: Choices) -> Checkpoint:
    """Read a file's content: tensors, classes, size, mean and deviation. Raises WeightsError for what can't be."""
    chosen = choose_network(content, choices, find_networks(content.values, MARK))
    state = _to_ours(checked_state(chosen.network.state, content.path))
    told = _told(content)
    if (description := description_in(told, content.path)) is not None:
        check_hash(state, description.sha256, content.path)
    is_classifier = "head.weight" in state and told.get(TASK) in (None, CLASSIFICATION)
    names = _names(told.get(CLASSES)) if is_classifier else None
    preprocessing = _preprocessing(told)
    architecture = None
    with suppress(WeightsError, ValidationError):  # which whoever builds the network says
        architecture = architecture_of(Checkpoint("", state))
    read = {CLASSES: names, SIGNATURE: preprocessing, STATS: preprocessing, CONFIG: architecture}
    said = {"architecture": architecture, "preprocessing": preprocessing, "class_names": names}
    keys = tuple(key for key, value in read.items() if value is not None)
    return chosen.checkpoint("birder", state, REASONS, description=description, read=keys, **said)


def _told(content: Content) -> dict[Any, Any]:
    """Give what a file says beside its tensors: objects of torch's, or JSON in a safetensors file's metadata."""
    told: dict[Any, Any] = dict(content.values if content.kind == "torch" else content.metadata)
    if content.kind == "torch":
        return told
    for key in (CLASSES, SIGNATURE, STATS):
        if key in told:
            try:
                told[key] = json.loads(told[key])
            except (ValueError, RecursionError):
                raise WeightsError(f"its {key} can't be read as JSON") from None
    return told


def _to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict, and give each convolution before a norm a bias of zeros."""
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = _our_name(name)
        if own in ours:
            raise WeightsError(f"two of its tensors would be {own[:80]}")
        ours[own] = tensor
    if "head.weight" not in ours and any(name.startswith("head.") for name in ours):
        raise WeightsError("its classifier has several layers (birder's mlp_head), which no MogaNet of ours has")
    for layer in (*BEFORE_NORMS, "head"):
        if (weight := ours.get(f"{layer}.weight")) is not None and weight.dim():
            ours.setdefault(f"{layer}.bias", torch.zeros(len(weight), dtype=weight.dtype))
    return ours


def _our_name(name: str) -> str:
    if (start := name[:9]) in STEM:
        return f"{OUR_STEM}{STEM[start]}{name[9:]}"
    if (found := STAGE.fullmatch(name)) is None:
        return f"head.{name.removeprefix('classifier.')}" if name.startswith("classifier.") else name
    stage, index, rest = int(found[1]), int(found[2]), found[3]
    if stage > 1 and index == 0:  # the embedding: a convolution and its norm
        part = {"0.": "projection", "1.": "norm"}.get(rest[:2])
        return name if part is None else f"patch_embed{stage}.{part}.{rest[2:]}"
    if "." not in rest and not rest.startswith("layer_scale"):  # the norm behind all blocks
        return f"norm{stage}.{rest}"
    return f"blocks{stage}.{index - (stage > 1)}.{rest.replace('.dw_conv', '.DW_conv').replace('.pw_', '.PW_')}"


def _names(indices: Any) -> tuple[str, ...] | None:
    """Give the classes in the order of their outputs; None where the file has none."""
    if indices in (None, {}):
        return None
    if not isinstance(indices, dict) or not all(isinstance(name, str) for name in indices):
        raise WeightsError(f"its {CLASSES} is no number for each class's name")
    numbers = list(indices.values())
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or sorted(numbers) != list(range(len(numbers))):
        raise WeightsError(f"its {CLASSES} does not number {len(numbers):,} classes from 0, each once")
    return tuple(sorted(indices, key=indices.__getitem__))


def _preprocessing(told: Mapping[Any, Any]) -> Preprocessing | None:
    """Give how birder prepares images: squashed to the size, bicubic; None where the file does not say all of it."""
    signature, stats = told.get(SIGNATURE), told.get(STATS)
    if signature is None or stats is None:
        return None
    try:
        _, channels, *size = signature["inputs"][0]["data_shape"]
        mean, std = stats["mean"], stats["std"]
        if len(mean) == len(std) != channels:
            but = f"but mean and deviation of {len(mean)}: its preprocessing is passed over"
            say(f"it says that its images have {str(channels)[:20]} channels, {but}", doubtful=True)
            return None
        return Preprocessing(
            size=size, crop_mode="squash", crop_fraction=1.0, channels=channels, mean=tuple(mean), std=tuple(std)
        )
    except ValidationError as error:
        raise WeightsError(f"it describes no preprocessing that is known: {describe_error(error)}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise WeightsError(f"its {SIGNATURE} and {STATS} are not as birder writes them") from None


def write_birder(path: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write what birder's `load_model(…, path=…)` reads. Raises ConfigError for a network that it can't build."""
    architecture = description.architecture
    warnings = differences(architecture.changed(**_split(architecture)), BIRDER | SPLIT, "birder")
    shape = {key: getattr(architecture, key) or value for key, value in VARIANTS[architecture.name].items()}
    if tuple(shape["mlp_ratios"]) != RATIOS:
        ratios = ", ".join(f"{ratio:g}" for ratio in shape["mlp_ratios"])
        remedy = "write a model file or a hub folder"
        raise ConfigError(f"birder knows channel mixers of 8, 8, 4, 4 times the width alone, not {ratios}; {remedy}")
    tensors, moved = without_biases(state)
    if moved:
        warnings.append(f"birder has no biases before norms: {moved} are taken up by the norms' means")
    warnings += _other_images(description.preprocessing)
    read_back = _to_ours(tensors)
    content = {
        "state": {_their_name(name, shape["depths"]): tensor for name, tensor in tensors.items()},
        TASK: CLASSIFICATION,
        **_facts(description),
        **({} if _is_theirs(shape) else {CONFIG: _config(architecture, shape)}),
        DESCRIPTION_KEY: describe_as_json(description.changed(sha256=hash_tensors(read_back))),
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
    return warnings


def _split(architecture: Architecture) -> dict[str, Any]:
    return {name: getattr(architecture, name) or value for name, value in SPLIT.items()}


def without_biases(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Give a network of the same answers without biases before norms, and the number of layers that had one."""
    kept = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    moved = 0
    for layer, norm in BEFORE_NORMS.items():
        bias = kept.pop(f"{layer}.bias")
        if bias.any():
            moved += 1
            mean = kept[f"{norm}.running_mean"]
            kept[f"{norm}.running_mean"] = (mean.double() - bias.double()).to(mean.dtype)
    return kept, moved


def _other_images(preprocessing: Preprocessing) -> list[str]:
    """Warn where birder would prepare images otherwise, and say how to ask it for the same."""
    warnings = []
    if preprocessing.crop_mode == "center":
        asked = f"center_crop={preprocessing.crop_fraction:g}, simple_crop=True"
        warnings.append(f"birder squashes images to the size, and crops as this model does when asked: {asked}")
    if preprocessing.interpolation != "bicubic":
        warnings.append(f"birder resizes images bicubic, this model {preprocessing.interpolation}")
    return warnings


def _facts(description: ModelDescription) -> dict[str, Any]:
    names, preprocessing = description.class_names, description.preprocessing
    shapes = {
        "inputs": [{"data_shape": [0, preprocessing.channels, *preprocessing.size]}],
        "outputs": [{"data_shape": [0, len(names)]}],
    }
    stats = {"mean": preprocessing.mean, "std": preprocessing.std}
    return {SIGNATURE: shapes, CLASSES: {name: number for number, name in enumerate(names)}, STATS: stats}


def _is_theirs(shape: Mapping[str, Any]) -> bool:
    return any(shape == known for known in VARIANTS.values() if tuple(known["mlp_ratios"]) == RATIOS)


def _config(architecture: Architecture, shape: Mapping[str, Any]) -> dict[str, Any]:
    widths = {key: list(shape[key]) for key in ("embed_dims", "depths")}
    return {**widths, "drop_path_rate": architecture.drop_path_rate}


def _their_name(name: str, depths: tuple[int, ...]) -> str:
    for theirs, ours in STEM.items():
        if name.startswith(start := f"{OUR_STEM}{ours}"):
            return theirs + name.removeprefix(start)
    if (found := OURS.fullmatch(name)) is None:
        return f"classifier.{name.removeprefix('head.')}"
    part, stage, rest = found[1], int(found[2]), found[3]
    first = stage > 1  # the embedding comes first, but in the first stage
    if part == "patch_embed":
        layer = rest.replace("projection.", "0.").replace("norm.", "1.")
        return f"body.stage{stage}.0.{layer}"
    if part == "norm":
        return f"body.stage{stage}.{depths[stage - 1] + first}.{rest}"
    number, _, inner = rest.partition(".")
    inner = inner.replace(".DW_conv", ".dw_conv").replace(".PW_", ".pw_")
    return f"body.stage{stage}.{int(number) + first}.{inner}"


FORMAT = Format("birder's .pt", is_birder, read_birder, write_birder, (".birder.pt",))
