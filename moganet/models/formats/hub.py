"""A hub folder as timm makes and reads it: `config.json` beside `model.safetensors`."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from moganet.config import Architecture, Preprocessing
from moganet.errors import OutputError, WeightsError
from moganet.files import read_small, write_text
from moganet.models.build import build_blank
from moganet.models.choices import Choices
from moganet.models.description import ModelDescription
from moganet.models.formats.format import Format
from moganet.models.formats.ours import is_ours, read_ours, save_model_file
from moganet.models.hub_folder import CONFIG, INDEXES, TENSORS, is_hub_folder, tensors_file
from moganet.models.reading.checkpoint import FUNCTION_GUESSES, Checkpoint, checked_state
from moganet.models.reading.contents import Content, read_content
from moganet.models.timms import TIMM, TIMMS, configuration, ends_of, preprocessing_of
from moganet.network import VARIANTS
from moganet.notices import say

MAX_CONFIG_BYTES = 10 << 20
MAX_SHARDS = 100
# What our Architecture holds and timm's create_model must be told, where it is not the variant's own.
MODEL_ARGS = set(Architecture.model_fields) - {"name", "num_classes"}
PASSED_OVER = {"num_classes", "pretrained", "features_only"}  # which change no function
HEAD = "head.weight"
PLAIN_ARGS = {"global_pool": "avg", "crop_kernels": True}  # arguments of the network that no description has


def _may_replace(folder: Path) -> bool:
    """Tell whether a folder's configuration is of a MogaNet, or lies beside tensors of ours."""
    if (tensors := tensors_file(folder)) is None:
        return False
    try:
        return _read_json(folder / CONFIG).get("architecture") in VARIANTS or is_ours(read_content(tensors))
    except (WeightsError, TypeError):
        return False


def read_hub(content: Content, choices: Choices) -> Checkpoint:
    """Read a folder. Raises WeightsError where its configuration is of no MogaNet, or damaged."""
    folder = content.path
    tensors = tensors_file(folder)
    assert tensors is not None, "is_hub_folder has looked"
    if tensors.name == TENSORS and is_ours(inner := read_content(tensors)):
        checkpoint = replace(read_ours(inner, choices), format="hub folder")
        assert checkpoint.description is not None
        _compare_config(folder, checkpoint.description)
        return checkpoint
    return _read_theirs(folder, choices)


def _compare_config(folder: Path, description: ModelDescription) -> None:
    """Say where a hub folder's configuration differs from the description beside its tensors, which is taken."""
    ours, theirs = config_of(description), _read_json(folder / CONFIG)
    differing = [key for key, value in ours.items() if theirs.get(key) != value]
    if differing:
        taken = f"{', '.join(differing)}; the latter is taken (convert the model to make both anew)"
        say(f"{folder / CONFIG} differs from what {TENSORS} says of itself in {taken}", doubtful=True)


def _read_theirs(folder: Path, choices: Choices) -> Checkpoint:
    config = _read_json(folder / CONFIG)
    name, args, pretrained = (config.get(key) for key in ("architecture", "model_args", "pretrained_cfg"))
    args, pretrained = args if isinstance(args, dict) else {}, pretrained if isinstance(pretrained, dict) else config
    if not isinstance(name, str) or name not in VARIANTS:
        raise WeightsError(f"{folder / CONFIG} is of {str(name)[:60]!r}, which is no variant of MogaNet")
    for key, plain in PLAIN_ARGS.items():
        if args.get(key, plain) != plain:
            raise WeightsError(f"{folder / CONFIG} sets {key} to {str(args[key])[:60]!r}; only {plain!r} can be read")
    _say_passed_over(folder, args)
    try:
        architecture = Architecture(name=name, **{key: args[key] for key in MODEL_ARGS & args.keys()})
        preprocessing = _preprocessing(pretrained, folder)
    except (ValidationError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder / CONFIG} describes a network that can't be: {reason}") from None
    if choices.weights == "ema":
        raise WeightsError(f"{folder} holds no EMA weights; leave --weights away")
    state, names = _read_tensors(folder), _names(config) or _names(pretrained)
    _compare_classes(folder, config.get("num_classes"), state)
    reasons = {"weights": "the only ones in the folder"} | dict.fromkeys(FUNCTION_GUESSES, f"as {CONFIG} says")
    said: dict[str, Any] = {name: getattr(architecture, name) for name in FUNCTION_GUESSES}
    said |= {"architecture": architecture, "preprocessing": preprocessing, "class_names": names}
    return Checkpoint("hub", state, reasons=reasons, **said)


def _say_passed_over(folder: Path, args: Mapping[str, Any]) -> None:
    unknown = sorted(args.keys() - MODEL_ARGS - PLAIN_ARGS.keys() - PASSED_OVER)
    if unknown:
        why = "which our network does not know: passed over, so that its answers may be others"
        named = ", ".join(name[:60] for name in unknown[:5])
        say(f"{folder / CONFIG} sets {named} in model_args, {why}", doubtful=True)


def _names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Give the classes' names: a list, or texts by number as transformers has them."""
    for key in ("label_names", "id2label"):
        names = config.get(key)
        if isinstance(names, dict) and names.keys() == {str(number) for number in range(len(names))}:
            names = [names[str(number)] for number in range(len(names))]
        if isinstance(names, list) and names and all(isinstance(name, str | int) for name in names):
            return tuple(map(str, names))
        if names:
            say(f"{CONFIG} has a {key} that is no list of names, and is passed over", doubtful=True)
    return None


def _compare_classes(folder: Path, stated: Any, state: Mapping[str, Tensor]) -> None:
    outputs = len(state[HEAD]) if HEAD in state and state[HEAD].dim() else None
    if isinstance(stated, int) and outputs not in (None, stated):
        say(f"{folder / CONFIG} says {stated} classes, but its head has {outputs}: the head is taken", doubtful=True)


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = tensors_file(folder)
    assert path is not None, "is_hub_folder has looked"
    if path.name not in INDEXES:
        return _read_one(path)
    shards = _read_json(path).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) and all(map(_is_name, shards.values())) else set()
    if not 0 < len(names) <= MAX_SHARDS:
        raise WeightsError(f"{path} names no files of this folder that hold tensors")
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        state |= _read_one(folder / name)
    return state


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _read_one(path: Path) -> dict[str, Tensor]:
    values = read_content(path).values
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds a {type(values).__name__}, not tensors by their names")
    return checked_state(values, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_small(path, MAX_CONFIG_BYTES, WeightsError).removeprefix("\ufeff"))  # Notepad's mark
    except WeightsError:
        raise
    except (RecursionError, ValueError) as error:
        raise WeightsError(f"{path} can't be read as JSON ({str(error)[:100]})") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds no JSON object")
    return config


def _preprocessing(cfg: Mapping[str, Any], folder: Path) -> Preprocessing | None:
    """Give what a configuration says, the rest as timm takes it, which is said; None where it says nothing."""
    missing = {name: value for name, value in TIMMS.items() if cfg.get(name) is None}
    if len(missing) == len(TIMMS):
        return None
    if missing:
        taken = ", ".join(f"{name} {value}" for name, value in missing.items())
        say(f"{folder / CONFIG} does not say all of the preprocessing: {taken} is taken, as timm does")
    return preprocessing_of(cfg)


def write_hub(folder: Path, state: Mapping[str, Tensor], description: ModelDescription) -> list[str]:
    """Write a folder that timm builds the same function of ("local-dir:FOLDER"), with our model file in it."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a hub folder needs another name")
    if os.path.lexists(folder / CONFIG) and not _may_replace(folder):
        raise OutputError(f"{folder / CONFIG} is there, is of no MogaNet, and would be replaced; choose another folder")
    save_model_file(folder / TENSORS, state, description)
    write_text(folder / CONFIG, json.dumps(config_of(description), indent=2) + "\n")
    is_plain = description.architecture.head is None
    return [] if is_plain else ["timm has no segmenters and can't build this folder's; moganet.load reads it"]


def config_of(description: ModelDescription) -> dict[str, Any]:
    """Give what `config.json` says of a network."""
    architecture, preprocessing = description.architecture, description.preprocessing
    is_moganet, classes = architecture.name in VARIANTS, len(description.class_names)
    dims = architecture.embed_dims or VARIANTS.get(architecture.name, {}).get("embed_dims")
    stride = architecture.stem_stride * 8
    blank = Architecture().model_dump()
    args = architecture.model_dump(mode="json", exclude_none=True)
    height, width = preprocessing.size
    cfg, ends = configuration(architecture.name), ends_of(architecture)
    pool = [-(-height // stride), -(-width // stride)] if is_moganet else list(cfg.get("pool_size", ()))
    return {
        "architecture": architecture.name.removeprefix(TIMM),
        "num_classes": classes,
        "num_features": dims[-1] if dims else getattr(build_blank(architecture), "num_features", None),
        **({"global_pool": "avg"} if is_moganet else {}),
        "model_args": {key: args[key] for key in sorted(MODEL_ARGS & args.keys()) if args[key] != blank[key]},
        "label_names": list(description.class_names),
        "pretrained_cfg": {
            "custom_load": False,
            "num_classes": classes,
            "input_size": [preprocessing.channels, height, width],
            "fixed_input_size": cfg.get("fixed_input_size", False),
            "pool_size": pool or None,
            "crop_pct": preprocessing.crop_fraction,
            "crop_mode": preprocessing.crop_mode,
            "interpolation": preprocessing.interpolation,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "first_conv": ends.stems[0] if len(ends.stems) == 1 else list(ends.stems),
            "classifier": ends.heads[0] if len(ends.heads) == 1 else list(ends.heads),
        },
    }


def _is_hub(content: Content) -> bool:
    return content.kind == "folder" and is_hub_folder(content.path)


FORMAT = Format("a hub folder", _is_hub, read_hub, write_hub, ("",), lambda architecture: True)
