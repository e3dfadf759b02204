"""From what a person calls a MODEL, a file, a folder or a name, to the stored model."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from moganet.config import Architecture
from moganet.errors import ConfigError, WeightsError
from moganet.models.build import with_counters
from moganet.models.choices import Choices, OfRelease
from moganet.models.download import fetch
from moganet.models.fit import adapt, fit
from moganet.models.formats import is_hub_folder, read_checkpoint
from moganet.models.formats.foreign import read_foreign
from moganet.models.published import published
from moganet.models.reading.checkpoint import check_fit
from moganet.models.shipped import shipped_models
from moganet.models.stored import Chosen, StoredModel, stored_of
from moganet.models.timms import configuration, describe, ends_of, is_timms
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES
from moganet.notices import say

RUN_FILES = ("best.safetensors", "last.safetensors")


@dataclass(frozen=True)
class Found:
    """Where a MODEL lies.

    file: a file or hub folder. release: the name of a downloaded one. network: a bare variant, or "timm:NAME".
    """

    file: Path | None
    release: str | None = None
    network: str | None = None

    @property
    def path(self) -> Path:
        """Give the file. Raises WeightsError where there is none."""
        if self.file is None:
            raise WeightsError(f"{self.network} is a network's name, and no file")
        return self.file


def list_trained() -> list[str]:
    """List the names of trained models: those that ship, and those to download."""
    return [*shipped_models(), *RELEASES]


def is_bare(what: str | Path) -> bool:
    """Tell whether a MODEL is a variant's name alone, which has no trained weights."""
    return full_name(str(what)) in VARIANTS and not Path(what).exists()


def find(what: str | Path) -> Found:
    """Find a MODEL; a release is downloaded. Raises WeightsError for what does not exist."""
    path, text = Path(what), str(what)
    if is_timms(text):
        name, _, file = text.partition("@")
        return Found(Path(file) if file else None, network=name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise WeightsError(f"can't look at {text[:200]}: {error.strerror}; give a file, a folder or a name") from None
    if is_folder:
        return Found(path if is_hub_folder(path) else _weights_of_run(path))
    if is_file:
        beside = path.parent
        return Found(beside if path.name == "model.safetensors" and is_hub_folder(beside) else path)
    base, _, tag = text.partition(".")
    name, shipped = f"{full_name(base)}.{tag}", shipped_models()
    if name in shipped:
        return Found(shipped[name])
    if name in RELEASES:
        return Found(fetch(name), release=name)
    if full_name(text) in VARIANTS:
        return Found(None, network=full_name(text))
    if tag and full_name(base) in VARIANTS:
        raise WeightsError(f"there is no trained model {text!r}; trained models: {', '.join(list_trained())}")
    raise WeightsError(
        f"there is no model {text!r}: give a file, a run's or hub folder, or one of {', '.join(VARIANTS)}"
    )


def _weights_of_run(folder: Path) -> Path:
    for name in RUN_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"{folder} is no finished run: it has neither {' nor '.join(RUN_FILES)}, and no config.json of a hub folder"
    )


def read_model(what: str | Path, choices: Choices = Choices()) -> StoredModel:  # noqa: B008 (frozen)
    """Read any MODEL with trained weights: a file of any format, a run's or hub folder, or a released model's name.

    Says on the log which weights and function were chosen. Raises WeightsError for what can't be read.
    """
    stored = open_model(what, choices)
    if not stored.trained:
        raise WeightsError(f"{what} has no trained weights; with weights: {', '.join(list_trained())}, or give a file")
    return stored


def open_model(what: str | Path, choices: Choices = Choices()) -> StoredModel:  # noqa: B008 (frozen)
    """Read any MODEL, as `read_model` does, or a network by its name, which has no trained weights."""
    found = find(what)
    if found.network is not None:
        return _network(found.network, found.file, choices)
    if found.release is not None:
        release = RELEASES[found.release]
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
    architecture = Architecture(name=name, **{**own, **given})
    chosen = Chosen(format="none", weights="plain", reason="weights from seed 0")
    description = describe(architecture, {"untrained": "weights from seed 0"})
    return StoredModel(Path(name), {}, description, chosen, trained=False)


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
    notes += fit(state, own, ends_of(architecture.name), path)
    check_fit(state, own, path)
    network.load_state_dict(state)
    say(f"{path.name}: {stored.chosen.format}, {'; '.join(notes)}")
