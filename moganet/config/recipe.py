"""A run's configuration, section by section."""

import re
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from moganet.config.descriptions import Architecture, Channels, Device, Precision, Preprocessing, Side, Square
from moganet.config.heads import MapsHead
from moganet.config.settings import Fraction, Settings, told

Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(ge=0.01, le=100)]
Jitter = Annotated[float, Field(ge=0, le=10)]
Alpha = Annotated[float, Field(ge=0, le=1000)]  # of a beta distribution
Processes = Annotated[int, Field(ge=1, le=1024)]
Names = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
Machines = Annotated[int, Field(ge=1, le=10_000)]


def fold_of(validation: object) -> tuple[int, int] | None:
    """Read "PART/PARTS", as "2/5", the second of five; None for all else. Raises ValueError where there is no such."""
    if not isinstance(validation, str) or not (numbers := re.fullmatch(r"(\d{1,4})/(\d{1,4})", validation)):
        return None
    part, parts = map(int, numbers.groups())
    if not 1 <= part <= parts or parts < 2:
        raise ValueError(f"{validation} is none of 1/{max(parts, 2)} to {max(parts, 2)}/{max(parts, 2)}")
    return part, parts


def _as_fold(validation: str) -> str:
    if fold_of(validation) is None:
        raise ValueError('give a fraction, a number, "val", "test", or PART/PARTS, say 2/5')
    return validation


class DataConfig(Settings):
    """Which images, and how they are divided."""

    source: str = Field(
        description="digits, cifar10, cifar100, folder:PATH, table:FILE, masks:DIR, coco:DIR, yolo:DIR, voc:DIR, or a "
        "path (--data)."
    )
    validation: (
        Annotated[int, Field(ge=1, strict=True)]
        | Annotated[float, Field(gt=0, lt=1)]
        | Literal["val", "test"]
        | Annotated[str, AfterValidator(_as_fold)]
        | None
    ) = told(
        None,
        "A share or a number of training images held back (stratified, by the seed), or the source's split of this "
        'name; "2/5": the second of five parts of "train" and "val" together; null: its own "val", else a fifth is '
        "held back.",
        "share or images",
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = told(
        1.0, "The share of each class's remaining training images to train on, drawn by the seed.", "share"
    )
    batch_size: Annotated[int, Field(ge=1, le=2**20)] = told(
        128, "How many images go through the network at once.", "images"
    )
    drop_last: bool = told(True, "Leave out a last step of an epoch that has fewer images.")
    workers: Annotated[int, Field(ge=0, le=256)] | None = told(
        None,
        "Processes that decode files; null: one a core, of those that a process has. Sets in memory need none.",
        "processes",
    )
    by_shape: bool = told(
        False,
        "Put images that lie and images that stand into steps of their own, where boxes are marked in them: batches of "
        "images that differ in size need less filling up then.",
    )
    balanced: bool = told(False, "Draw the classes equally often in training, with replacement.")


class AugmentConfig(Settings):
    """What training does to an image; each image has its own draw."""

    crop: Literal["none", "pad", "resized", "scaled"] = told(
        "none",
        'Which part is seen: "pad" shifts over reflected borders, "resized" takes a random part to the full size, '
        '"none" only preprocesses; of images in which something is marked "scaled" resizes by a factor of `zoom`, and '
        "takes a part of `crop_size`.",
    )
    crop_size: Annotated[tuple[Side, Side], Square] | None = told(
        None, 'Height and width of the part that "scaled" takes; null: the size of the preprocessing.', "pixels"
    )
    max_share: Annotated[float, Field(gt=0, le=1)] = told(
        1.0, 'How much of its pixels one class may have in a part that "scaled" takes, where that can be had.', "share"
    )
    distort: Fraction = told(
        0.0,
        "How often each of brightness, contrast, saturation, hue and the order of the channels changes, as for object "
        "detectors (Liu et al. 2016).",
        "probability",
    )
    short_side: tuple[Side, Side] | None = told(
        None,
        "From and to which length an image's shorter side is drawn, where boxes are marked in it; the longer one is at "
        "most that of the preprocessing. null: the size of the preprocessing.",
        "pixels",
    )
    mosaic: Fraction = told(
        0.0, "How often an image is put together with three others, where boxes are marked in them.", "probability"
    )
    pad: Annotated[int, Field(ge=0, le=1024)] = told(4, 'How far crop "pad" shifts at most.', "pixels")
    scale: tuple[Fraction, Fraction] = told((0.08, 1.0), 'The area that crop "resized" takes, from and to.', "share")
    ratio: tuple[Factor, Factor] = told((0.75, 4 / 3), 'Its width by its height in crop "resized", from and to.')
    hflip: Fraction = told(0.0, "How often an image is mirrored, left to right.", "probability")
    hflip_by_turns: bool = told(
        False,
        "Mirror each image in every second epoch, in place of by chance (Jordan 2024, alternating flip): of any two "
        "epochs in a row one sees it as it is, one mirrored; `hflip` must be 0.5.",
    )
    rotation: Annotated[float, Field(ge=0, le=180)] = told(0.0, "The widest turn, to either side.", "degrees")
    half_body: Fraction = told(
        0.0, "How often the crop of a box is of the upper or the lower half of a body alone.", "probability"
    )
    translate: Fraction = told(0.0, "The farthest shift, in each direction.", "share of the side")
    zoom: tuple[Factor, Factor] = told((1.0, 1.0), "The least and the greatest magnification.", "factor")
    color_jitter: tuple[Jitter, Jitter, Jitter] = told(
        (0.0, 0.0, 0.0), "How far brightness, contrast and saturation may change.", "share"
    )
    auto_augment: str | None = told(
        None,
        'A policy by timm\'s text ("rand-m9-mstd0.5-inc1", "3a", "augmix-m5-w4"); images then go through timm\'s '
        "transforms in workers, one by one, with crop, flip and jitter of this section.",
    )
    erasing: Fraction = told(0.0, "How often a rectangle of an image is erased.", "probability")
    mixup: Alpha = told(0.0, "Alpha of the beta distribution of mixup's shares of two images; 0: no mixup.")
    cutmix: Alpha = told(0.0, "Alpha of the beta distribution of cutmix's shares of two images; 0: no cutmix.")
    mix_prob: Fraction = told(1.0, "How many of the batches mixup or cutmix blends.", "share")


class TaskSettings(Settings):
    """What a network learns; each task has settings of its own, known by their name."""

    name: str = told("classify", "What the network learns to answer.")


class MapsSettings(TaskSettings):
    """What a network learns by a head on its maps; each task says which heads these may be."""

    head: MapsHead = Field(description="What stands on the network.")


class LossSettings(Settings):
    """What every task's loss has."""

    name: str = Field(description="What training makes small.")
    teacher: str | None = told(None, "A MODEL, or timm:NAME, whose soft answers are learned too; null: no teacher.")
    teacher_weight: Fraction = told(0.5, "How much of the loss is the divergence from the teacher's answers.", "share")
    temperature: Factor = told(1.0, "What both networks' logits are divided by in that divergence.", "factor")


class OptimizerConfig(Settings):
    """How the weights follow the gradients."""

    name: str = told("adamw", "An optimizer by timm's name (timm.optim.list_optimizers() lists them).")
    lr: Positive = told(1e-3, "The highest learning rate of the schedule.", "a step")
    lr_per: Annotated[int, Field(ge=1)] | None = told(
        None,
        "The number of images a step that `lr` is meant for: the rate grows and shrinks with the real number; null: it "
        "is taken as it is, whatever a step has.",
        "images",
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = told(
        None,
        "The rate of each group of layers by that of the next; null: one rate for all.",
        "factor",
    )
    weight_decay: NonNegative = told(0.05, "How strongly weights are drawn to 0.")
    decay_all: bool = told(
        False, "Decay every parameter, as plain L2 does; else norms, biases, layer scales and sigmas are spared."
    )
    spare: tuple[str, ...] | None = told(
        None,
        "Decay all parameters but those whose names contain one of these texts, as OpenMMLab does; null: see above.",
    )
    momentum: Fraction = told(0.9, "How much of the step before is kept, in optimizers that have it.", "share")
    betas: tuple[Beta, Beta] | None = told(
        None, "Decays of the averages of gradients and of their squares; null: the optimizer's own.", "share"
    )


class ScheduleConfig(Settings):
    """The learning rate of each optimizer step over the whole run: warm-up, then a curve."""

    name: Literal["cosine", "constant", "tanh", "poly", "step", "multistep"] = told(
        "cosine", "The curve, by timm's name, after the warm-up."
    )
    milestones: tuple[Fraction, ...] = told(
        (0.5, 0.75), 'Where in the run "multistep" multiplies the rate by decay_rate.', "share of the run"
    )
    every: Annotated[float, Field(gt=0, le=1)] = told(
        0.3, 'After how much of the run "step" multiplies the rate by decay_rate, again and again.', "share of the run"
    )
    decay_rate: Annotated[float, Field(gt=0, le=1)] = told(0.1, 'What "step" and "multistep" multiply it by.', "factor")
    power: Annotated[float, Field(gt=0, le=100)] = told(1.0, 'The exponent of "poly".')
    warmup: Annotated[float, Field(ge=0, lt=1)] = told(
        0.0, "How much of the run the rate takes to rise from near 0 to lr.", "share of the run"
    )
    min_lr: NonNegative = told(0.0, "The rate at the end of the curve.", "a step")


class TrainerConfig(Settings):
    """How long and in which form the loop runs; nothing here is timed."""

    max_epochs: Annotated[int, Field(ge=1, le=10**6)] = told(100, "How often all training images are seen.", "epochs")
    max_steps: Annotated[int, Field(ge=1, le=10**9)] | None = told(
        None, "After how many steps of the optimizer the run ends at the latest; null: max_epochs alone says.", "steps"
    )
    precision: Precision | Literal["auto"] = told(
        "f32",
        '"auto" is bf16 where the device has units for it, else f32; the run\'s recipe says which it became. On '
        "several machines of different kinds say which.",
    )
    channels_last: bool = told(True, "Keep a pixel's channels together in memory: quicker convolutions.")
    compile: bool = told(False, "Compile the network first, by torch.compile.")
    clip_norm: Positive | None = told(None, "The largest norm of all gradients; null: any.")
    accumulate: Annotated[int, Field(ge=1, le=2**20)] = told(
        1, "Batches of data.batch_size images whose gradients make one step of the optimizer.", "batches"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = told(
        None, "How much of the averaged weights stays at each step; null: weights are not averaged.", "share"
    )
    validate_every: Annotated[int, Field(ge=1, le=10**6)] = told(
        1, "How often validation runs; after the last one it does.", "epochs"
    )
    early_stop: Annotated[int, Field(ge=1)] | None = told(
        None, "How many validations without a better figure end the run; null: it runs to its end.", "validations"
    )
    grad_checkpointing: bool = told(False, "Recompute each block in the backward pass, for much less memory.")
    lean: bool = told(False, "Recompute the channel mixers' activations there, for half of the memory.")
    interactions_every: Annotated[int, Field(ge=1)] | None = told(
        None, "How often the interactions' strength is recorded (interactions.csv); null: never.", "epochs"
    )
    save_every: Annotated[float, Field(gt=0, le=10**6)] = told(
        5.0, "The time between two saves within an epoch; each epoch's start is saved anyway.", "minutes"
    )
    accelerator: Device = told(
        "auto",
        "The device: auto (a GPU where torch has one, else the CPU), cpu, cuda, cuda:N of several, or mps (Apple's).",
    )
    devices: Processes | None = told(
        None,
        "Processes on each machine, which train by DDP; null: what torchrun or SLURM started, else one.",
        "processes",
    )
    num_nodes: Machines | None = told(None, "Machines; null: what torchrun or SLURM started, else one.", "machines")


class StartConfig(Settings):
    """Where the weights start from.

    A model's shape and function replace those of `network`, its mean and standard deviation those of `preprocessing`;
    a head for other classes starts anew.
    """

    model: str | None = told(
        None,
        "A MODEL (file, run's folder, name), or \"pretrained\" for the network's published weights, else a model of it "
        "that ships; null: random weights. --from says another.",
    )
    freeze: Annotated[int, Field(ge=0, le=4)] = told(
        0, "How many stages, from the stem on, keep weights and statistics.", "stages"
    )
    freeze_epochs: Annotated[int, Field(ge=0, le=10**6)] = told(
        0,
        "How long the head alone learns, at the full rate, and all before it keeps weights and statistics; then all "
        "learns, and the schedule begins.",
        "epochs",
    )


class Recipe(Settings):
    """A whole run, from data to trained weights; of each task there is a kind with its own `task` and `loss`."""

    name: str = Field(description="What the run's folder is called after.")
    task: TaskSettings = TaskSettings()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = told(
        0, "The number from which all that is drawn by chance follows: weights, order, division, augmentation."
    )
    network: Architecture = Architecture()
    start: StartConfig = StartConfig()
    logger: Annotated[tuple[str, ...], Names] = told(
        ("csv", "tensorboard"), "Where figures go: csv, tensorboard, wandb, mlflow, comet, neptune."
    )
    data: DataConfig
    preprocessing: Preprocessing = Preprocessing()
    augment: AugmentConfig = AugmentConfig()
    loss: LossSettings
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    trainer: TrainerConfig = TrainerConfig()
    report: bool = told(True, "Write report.html at the end.")

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
