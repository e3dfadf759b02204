"""From what a person calls a MODEL to the stored model: tensors, and what they are."""

import importlib
from pathlib import Path

from torch import Tensor, nn

from moganet.config import Architecture
from moganet.errors import ConfigError, first_line
from moganet.models.build import check_fit, create, with_counters
from moganet.models.choices import Choices, OfRelease
from moganet.models.chosen import Chosen
from moganet.models.download import unreachable
from moganet.models.find import find, untrained
from moganet.models.fit import adapt, fit
from moganet.models.formats import read_checkpoint
from moganet.models.formats.foreign import read_foreign
from moganet.models.stored import StoredModel, stored_of
from moganet.models.timms import TIMM, configuration, describe, ends_of, is_timms
from moganet.network.releases import PUBLISHED
from moganet.notices import say

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in which timm keeps weights on the hub


def read_model(what: str | Path, choices: Choices = Choices()) -> StoredModel:  # noqa: B008 (frozen)
    """Read any MODEL with trained weights: a file of any format, a run's or hub folder, or a released model's name.

    Says on the log which weights and function were chosen. Raises WeightsError for what can't be read.
    """
    stored = open_model(what, choices)
    if not stored.trained:
        raise untrained(what)
    return stored


def open_model(what: str | Path, choices: Choices = Choices()) -> StoredModel:  # noqa: B008 (frozen)
    """Read any MODEL, as `read_model` does, or a network by its name, which has no trained weights."""
    found = find(what)
    if found.network is not None:
        return _network(found.network, found.file, choices)
    if found.release is not None:
        release = PUBLISHED[found.release]
        preset = {"gate": release.gate, "weights": release.weights}
        choices = OfRelease(**{**preset, **choices.given()}, released=tuple(preset.keys() - choices.given().keys()))
    cfg = configuration(found.release) if found.release is not None else {}
    stored = adapt(stored_of(found.path, read_checkpoint(found.path, choices), choices, cfg), choices)
    stored.say_what_was_chosen()
    return stored


def _network(name: str, file: Path | None, choices: Choices) -> StoredModel:
    """Give a network by its name, with a file's tensors, published weights (timm's), or none."""
    if is_timms(name) and choices.weights is not None:
        raise ConfigError(f"{name} has one kind of weights; leave --weights away")
    if file is not None:
        return adapt(read_foreign(name, file), choices)
    if is_timms(name) and choices.pretrained is not False and (weights := published(name)) is not None:
        architecture, state = weights
        description = describe(architecture, {"file": name})
        chosen = Chosen(format="timm", weights="plain", reason="as they were published", guessed=())
        return adapt(StoredModel(Path(name), state, description, chosen), choices)
    given = {key: value for key, value in choices.given().items() if key not in ("weights", "pretrained")}
    cfg = configuration(name)
    own = {"num_classes": cfg.get("num_classes", 1000), "in_chans": cfg.get("input_size", (3,))[0]}
    description = describe(Architecture(name=name, **{**own, **given}), {"untrained": "weights from seed 0"})
    chosen = Chosen(format="none", weights="plain", reason="weights from seed 0")
    return StoredModel(Path(name), {}, description, chosen, trained=False)


def published(name: str) -> tuple[Architecture, dict[str, Tensor]] | None:
    """Give timm's network with its published weights; None, which is said, without them. Raises ConfigError."""
    hub = importlib.import_module("huggingface_hub")
    cfg = importlib.import_module("timm").get_pretrained_cfg(name.removeprefix(TIMM))
    if cfg is None or not cfg.has_weights:
        return None
    of_hub = HUB_FILES if cfg.hf_hub_id else ()
    cached = [found for file in of_hub if (found := hub.try_to_load_from_cache(cfg.hf_hub_id, file))]
    reason = "" if cached or not cfg.hf_hub_id else unreachable(hub.constants.ENDPOINT)
    if not reason:
        # The hub's client would ask for a newer file first, and wait where there is no connection.
        overlay = {"pretrained_cfg_overlay": {"file": cached[0]}} if cached and isinstance(cached[0], str) else {}
        try:
            state = create(Architecture(name=name), pretrained=True, **overlay).state_dict()
            return Architecture(name=name, num_classes=cfg.num_classes, in_chans=cfg.input_size[0]), state
        except ConfigError:
            raise
        except Exception as error:  # the hub's client raises errors of many kinds
            reason = first_line(error)
    say(f"the weights of {name} can't be had, so random ones are taken: {reason}", doubtful=True)
    return None


def load_into(network: nn.Module, path: Path, weights: str | None = None) -> None:
    """Read a released file into a network of timm's making, as `MogaNet.load_pretrained` says."""
    choices = Choices(weights=weights)  # type: ignore[arg-type]
    stored = stored_of(path, read_checkpoint(path, choices), choices, {})
    own, architecture = network.state_dict(), stored.description.architecture
    function = {name: getattr(network, name) for name in ("gate", "channel_aggregation")}
    notes = [stored.chosen.reason]
    if any(getattr(architecture, name) != value for name, value in function.items()):
        gate, aggregation = function.values()
        notes.append(f"the network computes a {gate} gate and the {aggregation} channel aggregation")
    state = with_counters(stored.state, own)
    notes += fit(state, own, ends_of(architecture), path)
    check_fit(state, own, path)
    network.load_state_dict(state)
    say(f"{path.name}: {stored.chosen.format}, {'; '.join(notes)}")
