"""From any MODEL to a Predictor."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from moganet.config import Architecture, Precision
from moganet.errors import ConfigError, WeightsError
from moganet.inference.exported import is_exported, load_exported
from moganet.inference.model_file import ModelDescription
from moganet.inference.predictor import Predictor, warn_untrained
from moganet.inference.read import HEAD, ModelContents, adapt_stem, describe, read_contents, read_model
from moganet.inference.runtimes import Runtime
from moganet.network import VARIANTS, build_network, full_name
from moganet.network.moganet import MogaNet
from moganet.network.releases import RELEASES
from moganet.notices import say
from moganet.weights import Choices, check_fit
from moganet.weights.shipped import shipped_models


def load(what: str | Path, runtime: Runtime = "auto", precision: Precision = "f32", **choices: Any) -> Predictor:
    """Load a model to predict with.

    what: a model file, a released checkpoint of any format, an exported file, a run's folder (its best weights), a
        hub folder, or a name. "moganet_nano.digits" ships with the package, "moganet_small.in1k" is downloaded; a bare
        variant's name is an untrained network with weights from seed 0, and a warning says so.
    runtime: "eager", "compile", "onnx" or "openvino"; "auto" is OpenVINO where it is installed and there is no GPU,
        else "eager" (or what the environment variable MOGANET_RUNTIME says). An exported file brings its own.
    precision: "f32", or "bf16" and (GPU) "f16" by autocast.
    choices: what replaces the file's own: weights ("plain", "ema"), gate ("single", "double"), channel_aggregation
        ("reference", "paddle"), stem_stride (4, 2, 1), num_classes (the head starts anew), in_chans (the stem adapts).
    Raises WeightsError for what can't be loaded, ConfigError for a choice that does not exist.
    """
    try:
        asked = Choices(**choices)
    except TypeError:
        raise ConfigError(f"load knows {', '.join(vars(Choices()))}, not {', '.join(choices)}") from None
    if is_exported(Path(what)):
        if choices:
            raise ConfigError(f"{what} is an exported file, whose function is fixed; leave out {', '.join(choices)}")
        return load_exported(Path(what), runtime, precision)
    name = full_name(str(what))
    if name in VARIANTS and not Path(what).exists():
        warn_untrained(name)
        network, description = _untrained(name, asked)
        return Predictor(network, description, runtime, precision, trained=False, name_of_model=str(what))
    contents = read_model(what, asked)
    network, description = build_from(contents), contents.description
    del contents  # what was read is copied by now, and laying out the network needs room
    return Predictor(network, description, runtime, precision, name_of_model=str(what))


def list_models(pretrained: bool = False) -> list[str]:
    """List the variants' names, or with `pretrained` those of trained models: ones that ship, and ones to download."""
    return [*shipped_models(), *RELEASES] if pretrained else list(VARIANTS)


def build_from(contents: ModelContents, share: bool = False) -> nn.Module:
    """Build the network of what was read, and fill it.

    share: use the tensors as they are, which may lie in the file, instead of copies.
    Raises WeightsError for a description of a network that can't be, or tensors that don't fit it.
    """
    path, architecture = contents.path, contents.description.architecture
    try:
        with torch.device("meta"):  # no memory, and no drawing of weights that are replaced at once
            network = build_network_for(architecture)
    except ConfigError as error:
        raise WeightsError(f"{path} describes a network that can't be: {error}") from None
    own, state = network.state_dict(), dict(contents.state)
    for name in own:  # the PaddlePaddle port counts no batches
        if name.endswith("num_batches_tracked") and name not in state:
            state[name] = torch.zeros((), dtype=torch.long)
    check_fit(state, own, path)
    if not share:
        network = network.to_empty(device="cpu")
    network.load_state_dict(state, assign=share)
    return network


def load_into(network: nn.Module, path: Path, weights: str | None = None) -> None:
    """Read a released file into a network of timm's making, as `MogaNet.load_pretrained` says."""
    assert isinstance(network, MogaNet)
    contents = read_contents(path, Choices(weights=weights), (), {})  # type: ignore[arg-type]
    state, own, architecture = dict(contents.state), network.state_dict(), contents.description.architecture
    notes = [contents.chosen["reason"]]
    if architecture.gate != network.gate or architecture.channel_aggregation != network.channel_aggregation:
        notes.append(
            f"the network computes a {network.gate} gate and the {network.channel_aggregation} channel aggregation"
        )
    if state["patch_embed1.projection.0.weight"].shape[1] != network.in_chans:
        notes.append(adapt_stem(state, network.in_chans, path))
    if any(name in own and (name not in state or state[name].shape != own[name].shape) for name in HEAD):
        had = state["head.weight"].shape[0] if "head.weight" in state else 0
        notes.append(f"the head starts anew: {network.num_classes} classes instead of {had}")
        state |= {name: own[name] for name in HEAD}
    for name in HEAD:
        if name not in own:
            state.pop(name, None)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))
    check_fit(state, own, path)
    network.load_state_dict(state)
    say(f"{path.name}: {contents.chosen['format']}, {'; '.join(notes)}")


def _untrained(name: str, choices: Choices) -> tuple[nn.Module, ModelDescription]:
    given = {key: value for key, value in vars(choices).items() if value is not None and key != "weights"}
    architecture = Architecture(name=name, **{"num_classes": 1000, "in_chans": 3, **given})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network_for(architecture)
    return network, describe(architecture, {"untrained": "weights from seed 0"})


def build_network_for(architecture: Architecture) -> nn.Module:
    """Build a network as described. Raises ConfigError for what does not exist."""
    try:
        return build_network(architecture.name, **architecture.options())
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ConfigError(f"can't build {architecture.name}: {reason}") from None
