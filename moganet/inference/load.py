"""From a file, a run's folder or a name to a Predictor."""

import logging
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo
from torch import nn

from moganet.config import Architecture, Precision, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.inference.exported import is_exported, load_exported
from moganet.inference.model_file import ModelDescription, is_safetensors, load_model_file, parse_description
from moganet.inference.predictor import Predictor, warn_untrained
from moganet.inference.runtimes import Runtime
from moganet.network import VARIANTS, build_network, full_name, variant_of_shape
from moganet.weights import Checkpoint, architecture_of, as_checkpoint, as_run_checkpoint, read_content

logger = logging.getLogger(__name__)
RUN_FILES = ("best.safetensors", "last.safetensors")


def load(what: str | Path, runtime: Runtime = "auto", precision: Precision = "f32") -> Predictor:
    """Load a model to predict with.

    what: a model file, a released checkpoint, an exported file, a run's folder (its best weights), or a name. A
        bare variant's name is an untrained network with weights from seed 0, and a warning says so.
    runtime: "eager", "compile", "onnx" or "openvino"; "auto" is OpenVINO where it is installed and there is no GPU,
        else "eager" (or what the environment variable MOGANET_RUNTIME says). An exported file brings its own.
    precision: "f32", or "bf16" and (GPU) "f16" by autocast.
    Raises WeightsError for what can't be loaded, ConfigError for a runtime or precision that does not exist.
    """
    if is_exported(Path(what)):
        return load_exported(Path(what), runtime, precision)
    network, description, trained = _open(what)
    return Predictor(network, description, runtime, precision, trained=trained, name_of_model=str(what))


def list_models(pretrained: bool = False) -> list[str]:
    """List the variants' names, or with `pretrained` those of the trained models that ship."""
    return [] if pretrained else list(VARIANTS)


def _open(what: str | Path) -> tuple[nn.Module, ModelDescription, bool]:
    path = Path(what)
    if path.is_dir():
        path = _weights_of_run(path)
    if path.is_file():
        return (*_from_file(path), True)
    name = str(what)
    if full_name(name) in VARIANTS:
        warn_untrained(full_name(name))
        return (*_untrained(full_name(name)), False)
    base, _, tag = name.partition(".")
    if tag and full_name(base) in VARIANTS:
        shipped = ", ".join(list_models(pretrained=True)) or "none ships yet"
        raise WeightsError(f"there is no trained model {name!r}; trained models: {shipped}")
    raise WeightsError(f"there is no model {name!r}: give a file, a run's folder, or one of {', '.join(VARIANTS)}")


def _weights_of_run(folder: Path) -> Path:
    for name in RUN_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} is no finished run: it has neither {' nor '.join(RUN_FILES)}")


def _from_file(path: Path) -> tuple[nn.Module, ModelDescription]:
    """Read a file by what it holds: safetensors, a run's last.ckpt, or a released checkpoint."""
    if is_safetensors(path):
        return _from_model_file(path)
    content = read_content(path)
    run = as_run_checkpoint(content)
    if run is not None:
        state, text = run
        description = parse_description(text, path)
        return _fill(_build_for_file(description.architecture, path), state, path), description
    return _from_checkpoint(as_checkpoint(content, path), path)


def _from_model_file(path: Path) -> tuple[nn.Module, ModelDescription]:
    state, description = load_model_file(path)
    return _fill(_build_for_file(description.architecture, path), state, path), description


def _build_for_file(architecture: Architecture, path: Path) -> nn.Module:
    """Build the network that a file describes; where that can't be, it is the file's fault."""
    try:
        return build_network_for(architecture)
    except ConfigError as error:
        raise WeightsError(f"{path} describes a network that can't be: {error}") from None


def _from_checkpoint(checkpoint: Checkpoint, path: Path) -> tuple[nn.Module, ModelDescription]:
    architecture = architecture_of(checkpoint)
    shape = (architecture.embed_dims or (), architecture.depths or (), architecture.mlp_ratios or ())
    variant = variant_of_shape(*shape)
    logger.info("%s: %s checkpoint, %s", path.name, checkpoint.format, checkpoint.reason)
    if variant:
        architecture = architecture.model_copy(update={"name": variant})
    network = _fill(_build_for_file(architecture, path), dict(checkpoint.state), path)
    provenance = {
        "file": path.name,
        "format": checkpoint.format,
        "weights": checkpoint.weights,
        "reason": checkpoint.reason,
    }
    return network, _describe(architecture, provenance)


def _untrained(name: str) -> tuple[nn.Module, ModelDescription]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(name)
    return network, _describe(
        Architecture(name=name, num_classes=1000, in_chans=3), {"untrained": "weights from seed 0"}
    )


def _describe(architecture: Architecture, provenance: dict[str, Any]) -> ModelDescription:
    """Describe a network that brings no description of its own: timm's configuration, ImageNet's names for 1000."""
    cfg = timm.get_pretrained_cfg(architecture.name)
    channels = architecture.in_chans or 3
    classes = architecture.num_classes or 0
    preprocessing = Preprocessing(
        size=cfg.input_size[1:],
        crop_fraction=cfg.crop_pct,
        interpolation=cfg.interpolation,
        channels=channels,
        mean=cfg.mean if channels == 3 else (0.5,) * channels,
        std=cfg.std if channels == 3 else (0.5,) * channels,
    )
    names = ImageNetInfo().label_descriptions() if classes == 1000 else [f"class_{i}" for i in range(classes)]
    return ModelDescription(
        architecture=architecture, preprocessing=preprocessing, class_names=tuple(names), provenance=provenance
    )


def build_network_for(architecture: Architecture) -> nn.Module:
    """Build a network as described. Raises ConfigError for what does not exist."""
    try:
        return build_network(architecture.name, **architecture.options())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"can't build {architecture.name}: {error}") from None


def _fill(network: nn.Module, state: dict[str, torch.Tensor], path: Path) -> nn.Module:
    own = network.state_dict()
    for name in own:  # the PaddlePaddle port counts no batches
        if name.endswith("num_batches_tracked") and name not in state:
            state[name] = own[name]
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{n} is {tuple(state[n].shape)}, not {tuple(own[n].shape)}"
        for n in own.keys() & state.keys()
        if state[n].shape != own[n].shape
    ]
    if missing or unexpected or shapes:
        parts = [f"missing: {', '.join(missing[:3])}"] if missing else []
        parts += [f"unexpected: {', '.join(unexpected[:3])}"] if unexpected else []
        parts += sorted(shapes)[:3]
        raise WeightsError(f"the tensors of {path} do not fit the network; {'; '.join(parts)}")
    network.load_state_dict(state)
    return network
