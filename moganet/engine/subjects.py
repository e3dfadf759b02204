"""The networks whose interactions are measured: ours, timm's and exported files, each in its fastest exact form."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from torch import nn

from moganet.config import Precision, Preprocessing
from moganet.data import Dataset
from moganet.engine.contenders import TIMM, run_timm
from moganet.engine.masking import Run
from moganet.errors import ConfigError, WeightsError
from moganet.inference import Predictor, load
from moganet.inference.own_data import match_classes
from moganet.inference.runtimes import Runtime
from moganet.models.reading.checkpoint import check_fit, checked_state, hash_tensors
from moganet.models.reading.contents import read_content
from moganet.models.timms import preprocessing_of
from moganet.network import VARIANTS, full_name
from moganet.notices import remember, say


@dataclass(frozen=True)
class Subject:
    """A network to be measured.

    run: from preprocessed images (B, C, H, W) to logits. classes: the logit of each of the data set's classes.
    identity: a hash of all that its answers depend on. trained: whether its weights mean anything.
    """

    name: str
    run: Run
    preprocessing: Preprocessing
    classes: tuple[int, ...]
    identity: str
    runtime: str
    precision: str
    device: torch.device
    trained: bool = True

    def resized(self, size: int | None) -> "Subject":
        """Give the subject for images of another size (pixels a side)."""
        if size is None:
            return self
        return replace(self, preprocessing=self.preprocessing.changed(size=(size, size)))


def predictors_of(
    models: Sequence[str | Path | Predictor], runtime: Runtime, precision: Precision
) -> list[Predictor | None]:
    """Load what is a MODEL of ours; None stands for what needs the data set first: timm's, and bare variants."""
    return [
        model
        if isinstance(model, Predictor)
        else None
        if str(model).startswith(TIMM) or is_bare(model)
        else load(model, runtime, precision)
        for model in models
    ]


def is_bare(model: str | Path) -> bool:
    """Say whether a MODEL is a variant's name, which has no trained weights."""
    return full_name(str(model)) in VARIANTS and not Path(model).exists()


def open_subjects(
    models: Sequence[str | Path | Predictor],
    predictors: Sequence[Predictor | None],
    dataset: Dataset,
    runtime: Runtime,
    precision: Precision,
) -> list[Subject]:
    """Make models ready to be asked about a data set's classes. Raises ConfigError, DataError or WeightsError."""
    first = next((p.config.preprocessing for p in predictors if p is not None), None)
    subjects = []
    for model, predictor in zip(models, predictors, strict=True):
        if predictor is not None:
            subjects.append(_ours(predictor, dataset))
        elif str(model).startswith(TIMM):
            subjects.append(_timms(str(model), dataset, first, runtime, precision))
        else:  # a bare variant, for which `load` warns
            untrained = load(str(model), runtime, precision, num_classes=len(dataset.class_names))
            subject = _ours(untrained, dataset, tuple(range(len(dataset.class_names))))
            subjects.append(replace(subject, preprocessing=first or subject.preprocessing))
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise ConfigError(f"{next(n for n in names if names.count(n) > 1)} is named twice; name each model once")
    return subjects


def _ours(predictor: Predictor, dataset: Dataset, classes: tuple[int, ...] | None = None) -> Subject:
    if classes is None:
        classes = tuple(match_classes(dataset.class_names, predictor.class_names))
    if not predictor.has_module:  # an exported file
        digest = hashlib.sha256(Path(predictor.name_of_model).read_bytes()).hexdigest()
    else:
        digest = hash_tensors(predictor.model.state_dict()) + predictor.config.architecture.model_dump_json()
    predictor.logits(torch.zeros(1, predictor.config.preprocessing.channels, *predictor.config.preprocessing.size))
    return Subject(
        name=predictor.name_of_model,
        run=predictor.logits,
        preprocessing=predictor.config.preprocessing,
        classes=classes,
        identity=digest,
        runtime=predictor.runtime,
        precision=predictor.precision,
        device=torch.device(predictor.device),
        trained=predictor.trained,
    )


def _timms(model: str, dataset: Dataset, like: Preprocessing | None, runtime: Runtime, precision: Precision) -> Subject:
    """Make timm:NAME or timm:NAME@CHECKPOINT ready.

    Its preprocessing is what a safetensors checkpoint says of itself ("preprocessing", JSON); else that of the first
    model of ours where its classes are not those of timm's weights; else timm's own.
    """
    name, _, checkpoint = model.removeprefix(TIMM).partition("@")
    network, trained, said = _build_timm(name, checkpoint, len(dataset.class_names))
    cfg: Any = network.pretrained_cfg
    if said is None:
        own = like is None or cfg["num_classes"] == len(dataset.class_names)
        said = preprocessing_of(cfg) if own else like
    assert said is not None
    if not trained:
        text = f"{model} is untrained: its curve is that of random weights; timm:NAME@FILE has a file's"
        remember(text)
        warnings.warn(text, stacklevel=2)
    run, chosen = run_timm(network.eval(), runtime, precision, max(said.size))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes = tuple(range(len(dataset.class_names)))
    identity = f"{hash_tensors(network.state_dict())} {name}"
    return Subject(model, run, said, classes, identity, chosen, precision, device, trained)


def _build_timm(name: str, checkpoint: str, classes: int) -> tuple[nn.Module, bool, Preprocessing | None]:
    """Give the network, whether it is trained, and the preprocessing that its checkpoint describes."""
    if not checkpoint:
        published = timm.get_pretrained_cfg(name)
        if published is not None and published.num_classes == classes and published.has_weights:
            try:
                return timm.create_model(name, pretrained=True), True, None
            except Exception as error:  # the hub's client raises errors of many kinds
                reason = str(error).strip().partition("\n")[0]
                say(f"the weights of {name} can't be had, random ones are measured: {reason}", doubtful=True)
        return _create(name, classes), False, None
    path = Path(checkpoint)
    content = read_content(path)
    values = content.values
    for key in ("state_dict", "model"):
        values = values[key] if isinstance(values, dict) and isinstance(values.get(key), dict) else values
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds no state dict; save the network's state_dict()")
    network, state = _create(name, classes), checked_state(values, path)
    check_fit(state, network.state_dict(), path)
    network.load_state_dict(state)
    return network, True, _described(content.metadata, path)


def _create(name: str, classes: int) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"timm can't build {name!r}: {str(error).splitlines()[0]}") from None
    return network


def _described(metadata: dict[str, str], path: Path) -> Preprocessing | None:
    if "preprocessing" not in metadata:
        return None
    try:
        return Preprocessing.model_validate(json.loads(metadata["preprocessing"]))
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} describes no preprocessing that is known: {str(error).splitlines()[0]}") from None
