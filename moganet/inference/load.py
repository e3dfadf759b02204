"""From any MODEL to a Predictor."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from moganet.config import Architecture, Precision
from moganet.errors import ConfigError
from moganet.inference.exported import is_exported, load_exported
from moganet.inference.predictor import Predictor, warn_untrained
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.models.build import build_from, build_network_for
from moganet.models.formats import Choices
from moganet.models.model_file import ModelDescription
from moganet.models.read import describe, read_model
from moganet.models.shipped import shipped_models
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES


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
        return open_predictor(network, description, runtime, precision, trained=False, name_of_model=str(what))
    contents = read_model(what, asked)
    network, description = build_from(contents), contents.description
    del contents  # what was read is copied by now, and laying out the network needs room
    return open_predictor(network, description, runtime, precision, name_of_model=str(what))


def as_predictor(
    model: str | Path | Predictor, runtime: Runtime = "auto", precision: Precision = "f32", **choices: Any
) -> Predictor:
    """Give a Predictor as it is, and load a MODEL. Raises ConfigError for choices where the Predictor's are made."""
    if not isinstance(model, Predictor):
        return load(model, runtime, precision, **choices)
    if choices:
        raise ConfigError(f"a Predictor has its weights and its function: give {', '.join(choices)} to load")
    return model


def list_models(pretrained: bool = False) -> list[str]:
    """List the variants' names, or with `pretrained` those of trained models: ones that ship, and ones to download."""
    return [*shipped_models(), *RELEASES] if pretrained else list(VARIANTS)


def _untrained(name: str, choices: Choices) -> tuple[nn.Module, ModelDescription]:
    given = {key: value for key, value in vars(choices).items() if value is not None and key != "weights"}
    architecture = Architecture(name=name, **{"num_classes": 1000, "in_chans": 3, **given})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network_for(architecture)
    return network, describe(architecture, {"untrained": "weights from seed 0"})
