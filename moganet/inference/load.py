"""From any MODEL to a Predictor."""

from pathlib import Path
from typing import Any

from moganet.config import Precision
from moganet.errors import ConfigError
from moganet.inference.exported import is_exported, load_exported
from moganet.inference.predictor import Predictor, warn_untrained
from moganet.inference.runtimes import Runtime, open_predictor
from moganet.models.build import build_from
from moganet.models.choices import Choices
from moganet.models.find import list_trained, open_model
from moganet.network import VARIANTS


def load(what: str | Path, runtime: Runtime = "auto", precision: Precision = "f32", **choices: Any) -> Predictor:
    """Load a model to predict with.

    what: a model file, a released checkpoint of any format, an exported file, a run's folder (its best weights), a
        hub folder, or a name. "moganet_nano.digits" ships with the package, "moganet_small.in1k" is downloaded; a bare
        variant's name is an untrained network with weights from seed 0, and a warning says so. "timm:NAME" is a network
        of timm's with its published weights where they can be had; "timm:NAME@FILE" has those of a file.
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
    stored = open_model(what, asked)
    network, description, trained = build_from(stored), stored.description, stored.trained
    if not trained:
        warn_untrained(description.architecture.name)
    del stored  # what was read is copied by now, and laying out the network needs room
    return open_predictor(network, description, runtime, precision, trained=trained, name_of_model=str(what))


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
    return list_trained() if pretrained else list(VARIANTS)
