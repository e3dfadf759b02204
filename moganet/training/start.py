"""What a run begins with and learns from: the weights of another model, and a teacher; classes go by their names."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from moganet.config import Architecture, Preprocessing, Recipe
from moganet.data import Dataset
from moganet.errors import ConfigError, MogaNetError, first_line
from moganet.files import cache_folder
from moganet.inference import Predictor
from moganet.inference.load import load
from moganet.models.download import address, fetch, unreachable
from moganet.models.find import is_bare, list_trained
from moganet.models.fit import carried, follow_names
from moganet.models.open import open_model
from moganet.models.reading.heads import BACKBONE
from moganet.models.shipped import shipped_models
from moganet.models.timms import default_names, ends_of, is_timms
from moganet.network import VARIANTS, full_name
from moganet.network.releases import RELEASES
from moganet.notices import say
from moganet.numbers import dimensions
from moganet.training.signals import is_first_process

PRETRAINED, FRESH = "pretrained", "none"  # words for start.model
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
    asked, of_timm = recipe.start.model, is_timms(recipe.network.name)
    published = asked == PRETRAINED or (asked is None and of_timm)
    if resumed is not None and asked in (None, FRESH, PRETRAINED):
        chosen = resumed.start.model if published else None
    elif published:
        chosen = _pretrained_of_timm(recipe) if of_timm else _pretrained(recipe)
    else:
        chosen = None if asked == FRESH else asked
        if chosen is None:
            _tell("the network starts from random weights; --from MODEL starts from trained ones")
        else:
            refuse_untrained(chosen, "--from")
    return recipe.changed(start=recipe.start.changed(model=chosen))


def refuse_untrained(model: str, what: str) -> None:
    """Raise ConfigError for a network's bare name, which has no weights."""
    if is_bare(model):
        every = sorted(list_trained(), key=lambda name: not name.startswith(f"{full_name(model)}."))
        raise ConfigError(f"{what} {model}: a variant's bare name has no weights; with weights: {', '.join(every)}")
    if is_timms(model) and not open_model(model).trained:
        raise ConfigError(f"{what} {model} can't be had with weights from timm; {model}@FILE has those of a file")


def _pretrained_of_timm(recipe: Recipe) -> str | None:
    name, channels = recipe.network.name, recipe.preprocessing.channels
    found = open_model(name)
    if found.trained and found.description.preprocessing.channels == channels:
        _tell(f"the network starts from {name}; --from MODEL starts from others, --from none from random weights")
        return name
    why = f" that take {channels} channels" if found.trained else ""
    said = f"there are none of {name}{why}; --from MODEL starts from others"
    _tell(f"the network starts from random weights: {said}", doubtful=True)
    return None


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
        config = load(name, "eager", device="cpu").config
        shape = {key: getattr(config.architecture, key) for key in SHAPE}
        own = config.architecture
        same = (full_name(network.name), network.stem_stride) == (own.name, own.stem_stride)
        if same and _fits(network, shape, recipe.preprocessing.channels, config.preprocessing.channels):
            _tell(f"the network starts from {name}, which ships: its shape is taken too{others}")
            return name
    remedy = f"--from MODEL starts from others, with their shape ({', '.join(shipped_models())} ship)"
    none = f"there are none for this {network.name}{why}"
    _tell(f"the network starts from random weights: {none}; {remedy}", doubtful=True)
    return None


def _fits(network: Architecture, shape: dict[str, object], channels: int, has_channels: int) -> bool:
    plain = Architecture()
    return (
        channels == has_channels
        and all(getattr(network, key) in (None, shape[key]) for key in SHAPE)
        and all(getattr(network, key) == getattr(plain, key) for key in FUNCTION)
    )


def _have(release: str) -> None:
    """Have a release's file in the cache. Raises MogaNetError, soon where no server answers."""
    cached = (cache_folder() / "weights" / RELEASES[release].file).is_file()
    if not cached and (reason := unreachable(address(RELEASES[release]))):
        raise ConfigError(f"{release} can't be had: {reason}")
    fetch(release)


def start_from(
    network: nn.Module, source: Predictor, class_names: tuple[str, ...], own: Architecture | None = None
) -> None:
    """Copy weights; the head goes by the classes' names, and stays as it was drawn where they are other ones.

    own: the network's description; None is the source's. With another head the backbone's weights are taken.
    """
    state = {name: tensor.detach().cpu() for name, tensor in source.model.state_dict().items()}
    known, theirs = source.class_names, source.config.architecture
    own = own or theirs
    state, follows = follow_names(state, ends_of(theirs), known, class_names)
    if own.head != theirs.head:
        number = len(state)
        state = _fitting(carried(state, theirs, own), network)
        _tell(f"started from {source.name_of_model}: {len(state)} of its {number} tensors fit; the rest starts anew")
    elif not follows:
        had = f"{'other ' if len(class_names) == len(known) else ''}{_named(known)}"
        _tell(f"started from {source.name_of_model}; the head starts anew: {_named(class_names)} instead of {had}")
    elif known != class_names:
        _tell(f"started from {source.name_of_model}; its classes are the same in another order: the head follows")
    network.load_state_dict(state, strict=False)


def _fitting(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give the tensors that a network has in the same shape."""
    own = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}


def frozen(network: nn.Module, stages: int) -> list[nn.Module]:
    """Give the modules of a network's first stages, by its `feature_info`. Raises ConfigError where it names fewer."""
    ends = [stage["module"] for stage in getattr(network, "feature_info", ())]
    if stages > len(ends):
        raise ConfigError(f"start.freeze is {stages}, but {type(network).__name__} names {len(ends)} stages")
    modules: list[nn.Module] = []
    parent = network
    for part in ends[stages - 1].split(".") if stages else ():
        names, children = zip(*parent.named_children(), strict=True)
        modules += children[: names.index(part)]
        parent = children[names.index(part)]
    return [*modules, parent] if stages else []


def head_of(network: nn.Module, recipe: Recipe, *, resumed: bool) -> list[nn.Module]:
    """Give the modules of a network's head, where they learn alone at first; say what is odd about that."""
    start, epochs = recipe.start, recipe.trainer.max_epochs
    if not start.freeze_epochs:
        return []
    names: Sequence[str] = ends_of(recipe.network).heads
    if recipe.network.head is not None:  # all that stands on the backbone is new
        names = [name for name, _ in network.named_children() if name != BACKBONE.rstrip(".")]
    known = dict(network.named_modules())
    heads = [known[name] for name in names if name in known and list(known[name].parameters())]
    if not heads:
        raise ConfigError(
            f"start.freeze_epochs: {recipe.network.name} has no head that could learn alone; leave it out"
        )
    if start.model is None and not resumed:
        odd = "the head learns on random weights, which are kept as they are"
        _tell(f"start.freeze_epochs {start.freeze_epochs}: {odd}; --from MODEL starts from trained ones", doubtful=True)
    if start.freeze_epochs >= epochs and not resumed:
        _tell(f"start.freeze_epochs {start.freeze_epochs} of {epochs} epochs: the head alone learns, to the end")
    return heads


def _named(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:MAX_NAMED])}{', …' if len(names) > MAX_NAMED else ''})"


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
    """Load and try the network to learn from. Raises ConfigError where it can't answer for the classes or images."""
    name, student = recipe.loss.teacher, recipe.preprocessing
    if name is None:
        return None
    refuse_untrained(name, "loss.teacher")
    predictor = load(name, device="cpu")
    network, own, order = predictor.model, predictor.config.preprocessing, _known(predictor, name, dataset)
    if {own.channels, student.channels} - {1, 3} and own.channels != student.channels:
        but = f"but preprocessing.channels is {student.channels}"
        raise ConfigError(f"loss.teacher {name} reads {own.channels} channels, {but}")
    if own.size != student.size:
        made, seen = dimensions(own.size), dimensions(student.size)
        _tell(f"loss.teacher {name} was made for {made} pixels and sees the {seen} of this run")
    teacher = Teacher(network.eval(), own, student, order)
    try:
        with torch.no_grad():
            answers = teacher(torch.zeros(1, student.channels, *student.size, device=next(network.parameters()).device))
    except Exception as error:  # a network of anyone's making
        said = f"can't answer for images of {dimensions(student.size)}: {first_line(error)}"
        raise ConfigError(f"loss.teacher {name} {said}") from None
    if answers.shape != (1, len(dataset.class_names)):
        but = f"but the data set has {len(dataset.class_names)} classes"
        raise ConfigError(f"loss.teacher {name} gives answers of the shape {tuple(answers.shape)}, {but}")
    return teacher


def _known(predictor: Predictor, name: str, dataset: Dataset) -> Tensor | None:
    """Give the teacher's index for each class of the data set."""
    known, names = predictor.class_names, dataset.class_names
    if is_timms(name) and known == default_names(len(known)):
        if len(known) != len(names):
            raise ConfigError(f"loss.teacher {name} knows {len(known)} classes, but the data set has {len(names)}")
        _tell(f"loss.teacher {name} names no classes: its {len(known)} are taken for these in their order")
        return None
    if missing := [one for one in names if one not in known]:
        lacks = f"does not know the classes {', '.join(missing[:MAX_NAMED])} of {dataset.spec}"
        remedy = "a teacher must know them by the same names"
        raise ConfigError(f"loss.teacher {name} {lacks}; it knows {_named(known)}; {remedy}")
    if known == names:
        return None
    if len(known) > len(names):
        _tell(f"loss.teacher {name} knows {len(known)} classes, of which the {len(names)} of {dataset.spec} are asked")
    return torch.tensor([known.index(name) for name in names])
