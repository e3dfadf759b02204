"""What a run begins with and learns from: the weights of another model, and a teacher; classes go by their names."""

import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from moganet.config import Architecture, Preprocessing, Recipe
from moganet.data import Dataset
from moganet.errors import ConfigError, MogaNetError, first_line
from moganet.files import cache_folder
from moganet.inference import Predictor, load
from moganet.models.download import address, fetch
from moganet.models.shipped import shipped_models
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES
from moganet.notices import say
from moganet.training.signals import is_first_process

PRETRAINED, FRESH = "pretrained", "none"  # words for start.model
REACH = 8  # seconds in which a server must answer before its weights are done without
SHAPE = ("embed_dims", "depths", "mlp_ratios")
FUNCTION = ("gate", "channel_aggregation", "dilations", "channel_split", "dilate_last_stage")
MAX_NAMED = 5


def _tell(text: str, *, doubtful: bool = False) -> None:
    if is_first_process():
        say(text, doubtful=doubtful)


def choose_start(recipe: Recipe, resumed: Recipe | None) -> Recipe:
    """Put a MODEL, or None for fresh weights, in the place of "pretrained" and "none", and say which it is.

    resumed: the recipe of the run that goes on, which knows. Raises ConfigError for a name without weights.
    """
    asked = recipe.start.model
    if resumed is not None and asked in (None, FRESH, PRETRAINED):
        chosen = resumed.start.model if asked == PRETRAINED else None
    elif asked == PRETRAINED:
        chosen = _pretrained(recipe)
    else:
        chosen = None if asked == FRESH else asked
        if chosen is None:
            _tell("the network starts from random weights; --from MODEL starts from trained ones")
        else:
            refuse_untrained(chosen, "--from")
    return recipe.changed(start=recipe.start.changed(model=chosen))


def refuse_untrained(model: str, what: str) -> None:
    """Raise ConfigError for the bare name of a variant, which has no weights."""
    if full_name(model) in VARIANTS and not Path(model).exists():
        own = [name for name in (*shipped_models(), *RELEASES) if name.startswith(f"{full_name(model)}.")]
        others = [name for name in (*shipped_models(), *RELEASES) if name not in own]
        raise ConfigError(
            f"{what} {model}: a variant's bare name has no weights; with weights: {', '.join(own + others)}"
        )


def _pretrained(recipe: Recipe) -> str | None:
    """Name the trained model of the recipe's network: its published weights, else a model that ships."""
    network, why = recipe.network, ""
    release = f"{full_name(network.name)}.in1k"
    others = "; --from MODEL starts from others, --from none from random weights"
    if release in RELEASES and _fits(network, VARIANTS[full_name(network.name)], recipe.preprocessing.channels, 3):
        try:
            _have(release)
        except MogaNetError as error:
            why = f" ({error})"
        else:
            _tell(f"the network starts from {release}{others}")
            return release
    for name in shipped_models():
        config = load(name, "eager").config
        shape = {key: getattr(config.architecture, key) for key in SHAPE}
        same = (
            full_name(network.name) == config.architecture.name
            and network.stem_stride == config.architecture.stem_stride
        )
        if same and _fits(network, shape, recipe.preprocessing.channels, config.preprocessing.channels):
            _tell(f"the network starts from {name}, which ships: its shape is taken too{others}")
            return name
    _tell(
        f"the network starts from random weights: there are none for this {network.name}{why}; --from MODEL starts "
        f"from others, with their shape ({', '.join(shipped_models())} ship)",
        doubtful=True,
    )
    return None


def _fits(network: Architecture, shape: dict[str, object], channels: int, has_channels: int) -> bool:
    """Tell whether a recipe asks for no other network than one of this shape."""
    plain = Architecture()
    return (
        channels == has_channels
        and all(getattr(network, key) in (None, shape[key]) for key in SHAPE)
        and all(getattr(network, key) == getattr(plain, key) for key in FUNCTION)
    )


def _have(release: str) -> None:
    """Have a release's file in the cache. Raises MogaNetError, soon where no server answers."""
    if not (cache_folder() / "weights" / RELEASES[release].file).is_file():
        answered: list[str] = []

        def ask() -> None:
            try:
                urllib.request.urlopen(address(RELEASES[release]), timeout=REACH).close()
            except (OSError, ValueError) as error:
                answered.append(str(getattr(error, "reason", error)))
            else:
                answered.append("")

        # In a thread, since looking a name up knows no limit.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(REACH + 2)
        reason = answered[0] if answered else "no answer"
        if reason:
            raise ConfigError(f"{release} can't be had: {reason}")
    fetch(release)


def start_from(network: nn.Module, source: Predictor, class_names: tuple[str, ...]) -> None:
    """Copy weights; the head goes by the classes' names, and stays as it was drawn where they are other ones."""
    state = {name: tensor.detach().cpu() for name, tensor in source.model.state_dict().items()}
    if source.class_names != class_names:
        if set(source.class_names) == set(class_names) and len(set(class_names)) == len(source.class_names):
            order = _order(source.class_names, class_names)
            state |= {name: state[name][order] for name in ("head.weight", "head.bias")}
            _tell(f"started from {source.name_of_model}; its classes are the same in another order: the head follows")
        else:
            state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
            _tell(
                f"started from {source.name_of_model}; the head starts anew: {_named(class_names)} instead of "
                f"{'other ' if len(class_names) == len(source.class_names) else ''}{_named(source.class_names)}"
            )
    network.load_state_dict(state, strict=False)


def _named(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:MAX_NAMED])}{', …' if len(names) > MAX_NAMED else ''})"


def _order(known: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
    return torch.tensor([known.index(name) for name in names])


class Teacher(nn.Module):
    """A network that answers for a student, by its own normalisation and channels, and in the student's classes.

    order: the teacher's index for each class of the student; None leaves its answers as they are.
    """

    def __init__(self, network: nn.Module, own: Preprocessing, student: Preprocessing, order: Tensor | None) -> None:
        super().__init__()
        self.network, self.channels = network, own.channels
        self.same = all(getattr(own, name) == getattr(student, name) for name in ("channels", "mean", "std"))
        self.own, self.student, self.order = own, student, order

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.network(images if self.same else self._as_own(images))
        return answers if self.order is None else answers[:, self.order.to(answers.device)]

    def _as_own(self, images: Tensor) -> Tensor:
        mean, std, own_mean, own_std = (
            images.new_tensor(values, dtype=torch.float32).view(-1, 1, 1)
            for values in (self.student.mean, self.student.std, self.own.mean, self.own.std)
        )
        pixels = images.float() * std + mean
        if pixels.shape[1] != self.channels:
            pixels = pixels.expand(-1, 3, -1, -1) if self.channels == 3 else F.rgb_to_grayscale(pixels)
        return (pixels - own_mean) / own_std


def load_teacher(recipe: Recipe, dataset: Dataset) -> Teacher | None:
    """Load the network to learn from: "timm:NAME" with its published weights, or any MODEL, and try it once.

    Raises ConfigError where it does not know the data set's classes by their names, or can't read its images.
    """
    name, student = recipe.loss.teacher, recipe.preprocessing
    if name is None:
        return None
    if name.startswith("timm:"):
        network, own = _from_timm(name, len(dataset.class_names))
        order = None
        _tell(
            f"loss.teacher {name} names no classes: its {len(dataset.class_names)} are taken for these in their order"
        )
    else:
        refuse_untrained(name, "loss.teacher")
        predictor = load(name)
        network, own, order = predictor.model, predictor.config.preprocessing, _known(predictor, name, dataset)
    if {own.channels, student.channels} - {1, 3} and own.channels != student.channels:
        raise ConfigError(
            f"loss.teacher {name} reads {own.channels} channels, but preprocessing.channels is {student.channels}"
        )
    if own.size != student.size:
        _tell(f"loss.teacher {name} was made for {_size(own)} pixels and sees the {_size(student)} of this run")
    teacher = Teacher(network.eval(), own, student, order)
    try:
        with torch.no_grad():
            answers = teacher(torch.zeros(1, student.channels, *student.size, device=next(network.parameters()).device))
    except Exception as error:  # a network of anyone's making
        said = f"can't answer for images of {_size(student)}: {first_line(error)}"
        raise ConfigError(f"loss.teacher {name} {said}") from None
    if answers.shape != (1, len(dataset.class_names)):
        raise ConfigError(
            f"loss.teacher {name} gives answers of the shape {tuple(answers.shape)}, but the data set has "
            f"{len(dataset.class_names)} classes"
        )
    return teacher


def _size(preprocessing: Preprocessing) -> str:
    return "x".join(map(str, preprocessing.size))


def _known(predictor: Predictor, name: str, dataset: Dataset) -> Tensor | None:
    """Give the teacher's index for each class of the data set."""
    known, names = predictor.class_names, dataset.class_names
    missing = [one for one in names if one not in known]
    if missing:
        raise ConfigError(
            f"loss.teacher {name} does not know the classes {', '.join(missing[:MAX_NAMED])} of {dataset.spec}; "
            f"it knows {_named(known)}; a teacher must know them by the same names"
        )
    if known == names:
        return None
    if len(known) > len(names):
        _tell(f"loss.teacher {name} knows {len(known)} classes, of which the {len(names)} of {dataset.spec} are asked")
    return _order(known, names)


def _from_timm(name: str, classes: int) -> tuple[nn.Module, Preprocessing]:
    try:
        network: nn.Module = timm.create_model(name.removeprefix("timm:"), pretrained=True)
        cfg: Any = network.pretrained_cfg
        channels, *size = cfg["input_size"]
        own = Preprocessing(size=tuple(size), channels=channels, mean=tuple(cfg["mean"]), std=tuple(cfg["std"]))
    except Exception as error:  # the hub's client raises errors of many kinds
        raise ConfigError(f"loss.teacher {name} can't be had from timm: {first_line(error)}") from None
    outputs = int(getattr(network, "num_classes", 0))
    if outputs != classes:
        raise ConfigError(f"loss.teacher {name} knows {outputs} classes, but the data set has {classes}")
    return network, own
