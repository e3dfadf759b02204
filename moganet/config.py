"""A run's configuration: recipe and overrides become one validated, frozen object.

Also the two descriptions in which the rooms meet: `Architecture` (network) and `Preprocessing` (data).
"""

import copy
import difflib
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from moganet.errors import ConfigError
from moganet.files import read_small

RECIPE_LIMIT, MAX_VALUES, MAX_BASES = 1_000_000, 10_000, 16  # bytes, values, recipes upon recipes
Gate = Literal["single", "double"]
ChannelAggregation = Literal["reference", "paddle"]
ConvInit = Literal["fan_out", "fan_in"]
Precision = Literal["f32", "bf16", "f16"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
# What a description or a recipe may ask for; beyond lies a slip (a mean of 123.7 is one for pixels in 0..255).
MAX_SIDE, MAX_CHANNELS, MAX_WIDTH, MAX_DEPTH = 4096, 1024, 65_536, 1024
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Mean = Annotated[float, Field(ge=-10, le=10)]
Deviation = Annotated[float, Field(ge=1e-4, le=10)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Depth = Annotated[int, Field(ge=1, le=MAX_DEPTH)]
Ratio = Annotated[float, Field(gt=0, le=1000)]
NonNegative = Annotated[float, Field(ge=0)]
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
Factor = Annotated[float, Field(ge=0.01, le=100)]
Jitter = Annotated[float, Field(ge=0, le=10)]
Alpha = Annotated[float, Field(ge=0, le=1000)]  # of a beta distribution


class Settings(BaseModel):
    """A section of a configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SettingsType = TypeVar("SettingsType", bound=Settings)


class Architecture(Settings):
    """Which network, and which function it computes; None leaves the variant's own value."""

    name: str = "moganet_xtiny"
    num_classes: Annotated[int, Field(ge=0)] | None = None
    in_chans: Channels | None = None
    embed_dims: tuple[Width, Width, Width, Width] | None = None
    depths: tuple[Depth, Depth, Depth, Depth] | None = None
    mlp_ratios: tuple[Ratio, Ratio, Ratio, Ratio] | None = None
    stem_stride: Literal[4, 2, 1] = 4
    gate: Gate = "single"
    channel_aggregation: ChannelAggregation = "reference"
    dilations: tuple[int, int, int] | None = None
    channel_split: tuple[int, int, int] | None = None
    dilate_last_stage: bool = True
    drop_rate: Fraction = 0.0
    drop_path_rate: Fraction = 0.0
    ls_init_value: float | None = None
    conv_init: ConvInit = "fan_out"

    def options(self) -> dict[str, Any]:
        """Give the keyword arguments for the network beside its name."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _per_channel(value: Any) -> Any:
    return (value,) if isinstance(value, float | int) else value


class Preprocessing(Settings):
    """How an image becomes the network's input; training, evaluation, prediction and exports share it.

    crop_mode "center" resizes the shorter side to size / crop_fraction and crops the middle; "squash" resizes both
    sides to the size. mean and std are per channel, for pixels in 0..1. white_level: the value of white in images of
    more than 8 bits (16-bit and 32-bit grey, floats); None is the end of their type's range (65535, and 1 of floats).
    """

    size: Annotated[tuple[Side, Side], BeforeValidator(_pair)] = (224, 224)
    crop_mode: Literal["center", "squash"] = "center"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    channels: Channels = 3
    mean: Annotated[tuple[Mean, ...], BeforeValidator(_per_channel)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Deviation, ...], BeforeValidator(_per_channel)] = (0.229, 0.224, 0.225)
    white_level: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std need one value for each of the {self.channels} channels")
        return self


class DataConfig(Settings):
    """Which images, and how they are divided.

    validation: a fraction or a number of training images held back (stratified, by the seed); "val" or "test" names
    a split of the source; None takes the source's own "val", else holds back a fifth.
    fraction: the share of each class's remaining training images to train on, drawn by the seed.
    workers: processes that decode files; None is one a core. Sets in memory need none.
    balanced: draw the classes equally often in training, with replacement.
    """

    source: str
    validation: (
        Annotated[int, Field(ge=1, strict=True)] | Annotated[float, Field(gt=0, lt=1)] | Literal["val", "test"] | None
    ) = None
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: Annotated[int, Field(ge=1, le=2**20)] = 128
    drop_last: bool = True
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    balanced: bool = False


class AugmentConfig(Settings):
    """What training does to an image; each image has its own draw.

    crop "pad" shifts by up to `pad` pixels over reflected borders, "resized" takes a random part (area in `scale`,
    aspect in `ratio`) to the full size, "none" only preprocesses. `zoom` (two factors), `rotation` (degrees) and
    `translate` (fraction of the side) form one affine map. color_jitter: brightness, contrast, saturation.
    auto_augment: a policy by timm's text ("rand-m9-mstd0.5-inc1", "3a", "augmix-m5-w4"); images then go through
    timm's transforms in workers, one by one, with crop, flip and jitter of this section.
    mix_prob: share of the batches that mixup or cutmix blends.
    """

    crop: Literal["none", "pad", "resized"] = "none"
    pad: Annotated[int, Field(ge=0, le=1024)] = 4
    scale: tuple[Fraction, Fraction] = (0.08, 1.0)
    ratio: tuple[Factor, Factor] = (0.75, 4 / 3)
    hflip: Fraction = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    translate: Fraction = 0.0
    zoom: tuple[Factor, Factor] = (1.0, 1.0)
    color_jitter: tuple[Jitter, Jitter, Jitter] = (0.0, 0.0, 0.0)
    auto_augment: str | None = None
    erasing: Fraction = 0.0
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    mix_prob: Fraction = 1.0


class LossConfig(Settings):
    """Cross-entropy or, per class, binary cross-entropy; targets are soft under mixup and cutmix.

    class_weights: "balanced" weighs classes inversely to their number of images. bce_threshold: soft targets above it
    count as 1 (RSB). teacher: a timm model ("timm:NAME", pretrained) or any MODEL whose soft answers, at
    `temperature`, make up the share `teacher_weight` of the loss.
    """

    name: Literal["cross_entropy", "bce"] = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    bce_threshold: Fraction | None = None
    teacher: str | None = None
    teacher_weight: Fraction = 0.5
    temperature: Factor = 1.0


class OptimizerConfig(Settings):
    """An optimizer by timm's name.

    lr_per: the number of images a step that `lr` is meant for; the rate grows and shrinks with the real number.
    decay_all: decay every parameter, as plain L2 does; else norms, biases, layer scales and sigmas are spared.
    layer_decay: the factor of the rate from each layer group to the one before it (for fine-tuning).
    """

    name: str = "adamw"
    lr: Positive = 1e-3
    lr_per: Annotated[int, Field(ge=1)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: NonNegative = 0.05
    decay_all: bool = False
    momentum: Fraction = 0.9
    betas: tuple[Beta, Beta] | None = None


class ScheduleConfig(Settings):
    """Learning rate per optimizer step over the whole run: warm-up (a fraction of it), then a curve by timm's name.

    milestones: fractions of the run at which "multistep" multiplies the rate by decay_rate; "step" does so at every
    `every`-th fraction.
    """

    name: Literal["cosine", "constant", "tanh", "poly", "step", "multistep"] = "cosine"
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    every: Annotated[float, Field(gt=0, le=1)] = 0.3
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    min_lr: NonNegative = 0.0


class TrainerConfig(Settings):
    """How long and in which form the loop runs; nothing here is timed.

    precision: "auto" is bf16 where the device has units for it, else f32; the run's recipe says which it became.
        On several machines of different kinds say which.
    ema: decay of the averaged weights. early_stop: epochs without a better validation accuracy after which to stop.
    accumulate: parts of data.batch_size images whose gradients make one step of the optimizer.
    grad_checkpointing: recompute activations in the backward pass, for less memory.
    interactions_every: epochs between two records of the interactions' strength (interactions.csv); None records none.
    save_every: minutes between two saves within an epoch; each epoch's start is saved anyway.
    devices, num_nodes: processes on each machine and machines; None takes what torchrun or SLURM started, else one.
        Several processes train by DDP.
    """

    max_epochs: Annotated[int, Field(ge=1, le=10**6)] = 100
    max_steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    precision: Precision | Literal["auto"] = "f32"
    channels_last: bool = True
    compile: bool = False
    clip_norm: Positive | None = None
    accumulate: Annotated[int, Field(ge=1, le=2**20)] = 1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    validate_every: Annotated[int, Field(ge=1, le=10**6)] = 1
    early_stop: Annotated[int, Field(ge=1)] | None = None
    grad_checkpointing: bool = False
    interactions_every: Annotated[int, Field(ge=1)] | None = None
    save_every: Annotated[float, Field(gt=0, le=10**6)] = 5.0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(ge=1, le=1024)] | None = None
    num_nodes: Annotated[int, Field(ge=1, le=10_000)] | None = None


class StartConfig(Settings):
    """Where the weights start from: a MODEL (file, run's folder, name), or None ("none") for a fresh network;
    "pretrained" for the network's published weights, else a model of it that ships.

    Its shape and function replace those of `network`, its mean and standard deviation those of `preprocessing`; a
    head for other classes starts anew. freeze: how many stages, from the stem on, keep weights and statistics.
    """

    model: str | None = None
    freeze: Annotated[int, Field(ge=0, le=4)] = 0


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Recipe(Settings):
    """A whole run, from data to trained weights.

    logger: csv, tensorboard, wandb, mlflow, comet or neptune. report: write report.html at the end.
    """

    name: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    network: Architecture = Architecture()
    start: StartConfig = StartConfig()
    logger: Annotated[tuple[str, ...], BeforeValidator(_names)] = ("csv", "tensorboard")
    data: DataConfig
    preprocessing: Preprocessing = Preprocessing()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    trainer: TrainerConfig = TrainerConfig()
    report: bool = True

    @property
    def num_processes(self) -> int:
        """Give the number of training processes on all machines."""
        return (self.trainer.devices or 1) * (self.trainer.num_nodes or 1)

    @property
    def images_a_step(self) -> int:
        """Give the number of images whose gradients make one step of the optimizer, over all processes."""
        return self.data.batch_size * self.trainer.accumulate * self.num_processes

    def to_yaml(self) -> str:
        """Give the resolved recipe as YAML that `load_recipe` reads back to an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def list_recipes() -> list[str]:
    """Name the recipes that ship with the package."""
    folder = resources.files("moganet.recipes")
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a YAML file, and apply overrides.

    overrides: dotted keys to values, or "key=value" texts whose values are YAML. A section that has a name takes
    `section=NAME` for it. Raises ConfigError that names an unknown key and the nearest known one.
    """
    values = _read(recipe)
    if not isinstance(overrides, Mapping):
        overrides = dict(_parse_assignment(text) for text in overrides)
    for key, value in overrides.items():
        _assign(values, key, copy.deepcopy(value))  # later keys may change it, and it is the caller's
    return validate(Recipe, values, f"recipe {recipe}")


def validate(kind: type[SettingsType], values: Any, what: str) -> SettingsType:
    """Build a section from plain values, with a one-line ConfigError instead of pydantic's report."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{what}: {_explain(kind, error)}") from None


def _read(recipe: str | Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    path = Path(recipe)
    if str(recipe) in above or len(above) > MAX_BASES:
        raise ConfigError(f"recipe {above[0]} is its own base, by {' and '.join(map(str, above[1:])) or 'itself'}")
    if path.suffix in (".yaml", ".yml"):
        if not path.exists():
            raise ConfigError(f"there is no recipe file {path}; recipes that ship: {', '.join(list_recipes())}")
        text = read_small(path, RECIPE_LIMIT, ConfigError)
    elif str(recipe) in list_recipes():
        text = resources.files("moganet.recipes").joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
    else:
        near = difflib.get_close_matches(str(recipe), list_recipes(), 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"there is no recipe {str(recipe)!r}; {hint}choose one of {', '.join(list_recipes())}, or a .yaml file"
        )
    values = parse_yaml(text, f"recipe {recipe}")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"recipe {recipe} must be a mapping with the keys {', '.join(Recipe.model_fields)}")
    base = values.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"recipe {recipe}: base must be the name of a recipe, or a YAML file")
    merged = _merge(_read(base, (*above, str(recipe))), values) if base else values
    return {**merged, "name": values.get("name", path.stem)}


def parse_yaml(text: str, what: str) -> Any:
    """Give the values of a YAML text. Raises ConfigError, also for one whose references unfold to no end."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _unfolded(node, {}) > MAX_VALUES:
            raise ConfigError(f"{what} unfolds to more than {MAX_VALUES:,} values by its references; write them out")
        return yaml.safe_load(text)
    except ConfigError:
        raise
    except Exception as error:  # yaml's own errors, and what its constructors raise for odd numbers and dates
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{what} is not valid YAML: {reason}") from None


def _unfolded(node: yaml.Node, known: dict[int, float]) -> float:
    """Count the values below a node with each reference written out; one that holds itself has no end."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_unfolded(part, known) for part in inner)
    return known[id(node)]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Lay a recipe's values over those of the recipe that it names as its base."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r} must be KEY=VALUE, for example --set trainer.max_epochs=10")
    return key.strip(), parse_yaml(value, f"--set {text[:100]!r}")


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {parent!r} is a single value and has no keys of its own")
        values = inner
    section = Recipe.model_fields.get(key)
    if section is not None and isinstance(value, str) and _is_section(section.annotation):
        main_key = {"data": "source", "start": "model"}.get(last, "name")
        inner = values.get(last)
        values[last] = {**(inner if isinstance(inner, dict) else {}), main_key: value}
    else:
        values[last] = value


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _explain(kind: type[Settings], error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        keys = _known_keys(kind, where)
        return f"{'.'.join(keys) or 'its values'}: {first['msg']} (given: {repr(first['input'])[:200]})"
    given = ".".join(where)
    return f"there is no setting '{given}'; {_nearest_setting(kind, given)}"


def _nearest_setting(kind: type[Settings], given: str) -> str:
    """Suggest the setting that a mistyped or misplaced one was meant for: first in its own section, then in any."""
    section, _, last = given.rpartition(".")
    paths = _setting_paths(kind)
    siblings = [path for path in paths if path.rpartition(".")[0] == section]
    for candidates in (siblings, paths):
        ends = {path.rpartition(".")[2]: path for path in candidates}
        if near := difflib.get_close_matches(last, ends, 1, 0.6):
            return f"did you mean '{ends[near[0]]}'?"
    return f"known: {', '.join(path.rpartition('.')[2] for path in siblings)}"


def _setting_paths(kind: type[Settings], prefix: str = "") -> list[str]:
    paths = []
    for name, field in kind.model_fields.items():
        paths.append(prefix + name)
        if _is_section(field.annotation):
            assert isinstance(field.annotation, type)
            paths += _setting_paths(field.annotation, f"{prefix}{name}.")
    return paths


def _known_keys(kind: type[Settings], where: list[str]) -> list[str]:
    """Keep of an error's location what a user wrote: pydantic appends the names of union members."""
    keys: list[str] = []
    current: Any = kind
    for part in where:
        if not _is_section(current) or part not in current.model_fields:
            break
        keys.append(part)
        current = current.model_fields[part].annotation
    return keys
