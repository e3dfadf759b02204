"""A run's configuration, section by section."""

from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny

from moganet.config.descriptions import Architecture, Channels, Precision, Preprocessing, Side, Square
from moganet.config.settings import Fraction, Settings

Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(ge=0.01, le=100)]
Jitter = Annotated[float, Field(ge=0, le=10)]
Alpha = Annotated[float, Field(ge=0, le=1000)]  # of a beta distribution
Processes = Annotated[int, Field(ge=1, le=1024)]
Names = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
Machines = Annotated[int, Field(ge=1, le=10_000)]


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
    aspect in `ratio`) to the full size, "none" only preprocesses, "scaled" resizes the image to a factor of `zoom` of
    its preprocessed size and takes a part of `crop_size` of it, in which no class has more than `max_share` of the
    pixels, where that can be had. `zoom` (two factors), `rotation` (degrees) and `translate` (fraction of the side)
    form one affine map otherwise. distort: how often brightness, contrast, saturation, hue and the order of the
    channels change, as for object detectors (Liu et al. 2016); one image at a time.
    color_jitter: brightness, contrast, saturation.
    auto_augment: a policy by timm's text ("rand-m9-mstd0.5-inc1", "3a", "augmix-m5-w4"); images then go through
    timm's transforms in workers, one by one, with crop, flip and jitter of this section.
    mix_prob: share of the batches that mixup or cutmix blends.
    """

    crop: Literal["none", "pad", "resized", "scaled"] = "none"
    crop_size: Annotated[tuple[Side, Side], Square] | None = None
    max_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    distort: Fraction = 0.0
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


class TaskSettings(Settings):
    """What a network learns; each task has settings of its own, known by their name."""

    name: str = "classify"


class LossSettings(Settings):
    """What every task's loss has. teacher: a MODEL whose soft answers, at `temperature`, are `teacher_weight` of it."""

    name: str
    teacher: str | None = None
    teacher_weight: Fraction = 0.5
    temperature: Factor = 1.0


class OptimizerConfig(Settings):
    """An optimizer by timm's name.

    lr_per: the number of images a step that `lr` is meant for; the rate grows and shrinks with the real number.
    decay_all: decay every parameter, as plain L2 does; else norms, biases, layer scales and sigmas are spared.
    spare: decay all parameters but those whose names contain one of these texts, as OpenMMLab's configurations do.
    layer_decay: the factor of the rate from each layer group to the one before it (for fine-tuning).
    """

    name: str = "adamw"
    lr: Positive = 1e-3
    lr_per: Annotated[int, Field(ge=1)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: NonNegative = 0.05
    decay_all: bool = False
    spare: tuple[str, ...] | None = None
    momentum: Fraction = 0.9
    betas: tuple[Beta, Beta] | None = None


class ScheduleConfig(Settings):
    """Learning rate per optimizer step over the whole run: warm-up (a fraction of it), then a curve by timm's name.

    "multistep" multiplies the rate by decay_rate at these fractions of the run (milestones), "step" at each `every`.
    power: of "poly", the exponent of the rest of the run.
    """

    name: Literal["cosine", "constant", "tanh", "poly", "step", "multistep"] = "cosine"
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    every: Annotated[float, Field(gt=0, le=1)] = 0.3
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    power: Annotated[float, Field(gt=0, le=100)] = 1.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    min_lr: NonNegative = 0.0


class TrainerConfig(Settings):
    """How long and in which form the loop runs; nothing here is timed.

    precision: "auto" is bf16 where the device has units for it, else f32; the run's recipe says which it became.
        On several machines of different kinds say which.
    ema: decay of the averaged weights. early_stop: epochs without a better validation accuracy after which to stop.
    accumulate: parts of data.batch_size images whose gradients make one step of the optimizer.
    grad_checkpointing: recompute each block in the backward pass, for much less memory.
    lean: recompute the channel mixers' activations there, for half of the memory.
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
    lean: bool = False
    interactions_every: Annotated[int, Field(ge=1)] | None = None
    save_every: Annotated[float, Field(gt=0, le=10**6)] = 5.0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Processes | None = None
    num_nodes: Machines | None = None


class StartConfig(Settings):
    """Where the weights start from: a MODEL (file, run's folder, name), or None ("none") for a fresh network;
    "pretrained" for the network's published weights, else a model of it that ships.

    Its shape and function replace those of `network`, its mean and standard deviation those of `preprocessing`; a
    head for other classes starts anew. freeze: how many stages, from the stem on, keep weights and statistics.
    """

    model: str | None = None
    freeze: Annotated[int, Field(ge=0, le=4)] = 0


class Recipe(Settings):
    """A whole run, from data to trained weights; of each task there is a kind with its own `task` and `loss`.

    logger: csv, tensorboard, wandb, mlflow, comet or neptune. report: write report.html at the end.
    """

    name: str
    task: TaskSettings = TaskSettings()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    network: Architecture = Architecture()
    start: StartConfig = StartConfig()
    logger: Annotated[tuple[str, ...], Names] = ("csv", "tensorboard")
    data: DataConfig
    preprocessing: Preprocessing = Preprocessing()
    augment: AugmentConfig = AugmentConfig()
    loss: LossSettings
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    trainer: TrainerConfig = TrainerConfig()
    report: bool = True

    def to_yaml(self) -> str:
        """Give the recipe as YAML that `load_recipe` reads back to an equal one."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class ResolvedNetwork(Architecture):
    """A network whose inputs and outputs are known."""

    num_classes: Annotated[int, Field(ge=0)]
    in_chans: Channels


class ResolvedTrainer(TrainerConfig):
    """A loop whose processes and precision are known."""

    precision: Precision
    devices: Processes
    num_nodes: Machines


class ResolvedRecipe(Recipe):
    """A recipe, with its own task's sections, that leaves nothing open to data, start weights or the launcher."""

    task: SerializeAsAny[TaskSettings]
    loss: SerializeAsAny[LossSettings]
    network: ResolvedNetwork
    trainer: ResolvedTrainer

    @property
    def num_processes(self) -> int:
        return self.trainer.devices * self.trainer.num_nodes

    @property
    def images_a_step(self) -> int:
        """Give the number of images whose gradients make one step of the optimizer, over all processes."""
        return self.data.batch_size * self.trainer.accumulate * self.num_processes
