"""The options that several commands share, one by one or in groups that are passed on to a verb as they are."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

import typer

from moganet_cli.completion import RECIPES, devices, models, recipes, settings_words, sources, splits
from moganet_cli.help import COMPUTED, IMAGES, PRINTED, WEIGHTS

# What may be asked for; beyond lies a slip.
SIDE, BATCH, SEED = {"min": 1, "max": 4096}, {"min": 1, "max": 2**20}, {"min": 0, "max": 2**32 - 1}

DEFAULTS = {"precision": "f32", "device": "auto", "seed": 0, "tta": "none"}
DEFAULTS |= {"filter": "correct", "reward": "log-odds", "baseline": "zero"}  # of interactions


def option(*texts: str, panel: str | None = None, words: Any = None, **limits: Any) -> Any:
    """Make an option of its help, which stands last, after names where its parameter's is not its own.

    panel: of the help, in which it stands. words: completes what is typed.
    """
    return typer.Option(*texts[:-1], help=texts[-1], rich_help_panel=panel, autocompletion=words, **limits)


def argument(metavar: str, text: str, words: Any = None) -> Any:
    return typer.Argument(metavar=metavar, help=text, autocompletion=words)


MODEL = "A file (model, checkpoint, exported), a run's or hub folder, moganet_small.in1k, or timm:NAME[@FILE]."
DATA = (
    "digits, cifar10, cifar100, folder:PATH, table:FILE, masks:DIR, coco:DIR, yolo:DIR, voc:DIR, shards:PATH_OR_URL, "
    "hub:NAME, or a path."
)
EVERY = "Of videos, a frame every 1s, 500ms, 2min or 10frames [default: 1s]."
SETTINGS = "Change any setting that `moganet settings` lists, e.g. optimizer.momentum=0.8; may be repeated."
AT_ONCE = "Images at a time [default: 128 on a GPU, else 32]."
WORKERS = "Processes that read images; 0: none"
OF_ITSELF = " [default: one a core for a GPU; else threads do it]"
SEEDS = "Number from which all that is drawn by chance follows."
FAST = "Decode large JPEGs at a fraction of their size: quicker, the answers change a little."
SPLIT = "test, val, train or all; where a set has no test, val is taken, and all of an undivided one."
DEVICE = "auto (a GPU where torch has one, else the CPU), cpu, cuda, cuda:N, or mps (Apple's)."
THREADS = "That compute and read [default: as many as this process may use; doctor says why]."
TTA = (
    "flip: answer by the mean over each image and its mirror image, in twice the time; 6: both "
    "also moved a little, for classes, in six times the time; not where left and right matter."
)
TILES = "Answer larger images by tiles of so many pixels a side; for boxes and masks."
BOXES = "Of key points: boxes of a table or COCO's JSON, those that a detector finds, or whole images."
RUNTIME = "auto (OpenVINO where it is installed and there is no GPU, else eager), or one by its name."

Model = Annotated[str, argument("MODEL", MODEL, models)]
Models = Annotated[list[str], argument("MODEL...", f"{MODEL} Several answer as one, by their mean.", models)]
Data = Annotated[str | None, option("--data", DATA, metavar="SOURCE[:PATH]", panel=IMAGES, words=sources)]
Recipe = Annotated[str, argument("RECIPE", f"{', '.join(RECIPES)}, or a YAML file.", recipes)]
Every = Annotated[str | None, option(EVERY, metavar="TIME", panel=IMAGES)]
Settings = Annotated[list[str] | None, option("--set", SETTINGS, metavar="KEY=VALUE", words=settings_words)]
Split = Annotated[str, option(SPLIT, metavar="NAME", panel=IMAGES, words=splits)]
AsJson = Annotated[bool, option("--json", "Print one JSON object on stdout and nothing else there.", panel=PRINTED)]
Precision = Annotated[Literal["f32", "bf16", "f16"], option("f32, bf16, or f16 (GPU).", panel=COMPUTED)]
Device = Annotated[str, option(DEVICE, metavar="NAME", panel=COMPUTED, words=devices)]
RecipesDevice = Annotated[  # None: as the recipe says
    str | None, option(DEVICE, metavar="NAME", panel=COMPUTED, words=devices)
]
Threads = Annotated[int | None, option(THREADS, metavar="N", min=1, panel=COMPUTED)]
Runtime = Annotated[Literal["auto", "eager", "compile", "onnx", "openvino"], option(RUNTIME, panel=COMPUTED)]
Workers = Annotated[int | None, option(WORKERS + OF_ITSELF, min=0, panel=COMPUTED)]
FastDecoding = Annotated[bool, option("--fast-decoding", FAST, panel=COMPUTED)]
Boxes = Annotated[str | None, option(BOXES, metavar="FILE|MODEL|whole", panel=IMAGES)]
TopK = Annotated[int | None, option("Classes to name for each image [default: 5, or all that are found].", min=1)]
Calibrated = Annotated[
    bool, option("--calibrated", "Scale the probabilities by the temperature that the model file keeps.")
]
Side = Annotated[int | None, option("Pixels a side [default: each model's own].", **SIDE)]
Seed = Annotated[int, option(SEEDS, panel=COMPUTED, **SEED)]


class FunctionChoices(TypedDict, total=False):
    """Which of a file's weights are taken, and what is computed with them."""

    weights: Annotated[
        Literal["plain", "ema"] | None,
        option("Which of a file's weights [default: those of the published accuracy].", panel=WEIGHTS),
    ]
    gate: Annotated[
        Literal["single", "double"] | None, option("The gate's function [default: the file's].", panel=WEIGHTS)
    ]
    channel_aggregation: Annotated[
        Literal["reference", "paddle"] | None,
        option("The channel mixer's function [default: the file's].", panel=WEIGHTS),
    ]
    stem_stride: Annotated[
        int | None, option("4, 2 or 1; tensors do not show it [default: the file's, or 4].", panel=WEIGHTS)
    ]


class StemChoices(FunctionChoices, total=False):
    """The choices that leave a model its classes."""

    in_chans: Annotated[
        int | None, option("--in-chans", "Another number of channels: the stem is adapted.", min=1, panel=WEIGHTS)
    ]


class AllChoices(StemChoices, total=False):
    """All choices among a MODEL's weights."""

    num_classes: Annotated[int | None, option("Another number of classes: the head starts anew.", min=0, panel=WEIGHTS)]


class Computing(TypedDict, total=False):
    """Where a verb computes, and with how many threads."""

    device: Device
    threads: Threads


class Answering(StemChoices, Computing, total=False):
    """What a verb passes on that asks a model for its classes, in a precision of its own choice."""

    runtime: Runtime


class Asking(Answering, total=False):
    """What a verb passes on that asks a model for its classes."""

    precision: Precision


class Batching(TypedDict, total=False):
    """How many images are read."""

    batch_size: Annotated[int | None, option(AT_ONCE, panel=COMPUTED, **BATCH)]
    workers: Workers


class Measuring(Asking, Batching, total=False):
    """What a verb passes on that asks so of many images."""


class Comparing(Batching, Computing, total=False):
    """What a verb passes on that asks several models so, each of which is what it is."""

    runtime: Runtime
    precision: Precision


class ReadingFast(Measuring, total=False):
    """What those verbs pass on that may read images so."""

    fast_decoding: FastDecoding


class ReadingViews(ReadingFast, total=False):
    """What those verbs pass on that may look at several views of an image."""

    tta: Annotated[Literal["none", "flip", "6"], option(TTA, panel=COMPUTED)]
    tiles: Annotated[int | None, option(TILES, panel=COMPUTED, **SIDE)]


SHARED = ReadingViews.__annotations__ | AllChoices.__annotations__


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose last parameter is `**passed: Unpack[…]` the options that it unpacks, before its --json.

    The command gets those that were given or have a default. Options of its own come before those that verbs share.
    """
    *own, passed = inspect.signature(command).parameters.values()
    (kind,) = get_args(passed.annotation)
    hints = get_type_hints(kind, include_extras=True)
    offered = [
        inspect.Parameter(name, own[-1].kind, default=_default(name, hints[name]), annotation=hints[name])
        for name in sorted(hints, key=SHARED.__contains__)
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name not in hints or value is not None})

    parameters = [*own[:-1], *offered, own[-1]]
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _default(name: str, hint: Any) -> Any:
    kind = get_args(hint)[0]
    if type(None) in get_args(kind):  # it may be left open, as train leaves the seed to its recipe
        return None
    return "auto" if "auto" in get_args(kind) else DEFAULTS.get(name, False if kind is bool else None)
