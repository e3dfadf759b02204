"""The options that several commands share, one by one or in groups that are passed on to a verb as they are."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

import typer

# What may be asked for; beyond lies a slip.
MAX_SIDE, MAX_BATCH, MAX_SEED = 4096, 2**20, 2**32 - 1

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model file, a checkpoint, an exported file, a run's or hub folder, or a name (moganet_small.in1k).",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE[:PATH]", help="digits, cifar10, cifar100, folder:PATH, table:FILE, or a path."
    ),
]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The name of a recipe that ships, or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, e.g. trainer.max_epochs=10; may be repeated."),
]
Split = Annotated[
    str,
    typer.Option(help="test, val, train or all; where a set has no test, val is taken, and all of an undivided one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Precision = Annotated[Literal["f32", "bf16", "f16"], typer.Option(help="f32, bf16, or f16 (GPU).")]
Runtime = Annotated[
    Literal["auto", "eager", "compile", "onnx", "openvino"],
    typer.Option(help="auto (OpenVINO where it is installed and there is no GPU, else eager), or one by its name."),
]
DEFAULTS = {"precision": "f32", "runtime": "auto"}


class FunctionChoices(TypedDict, total=False):
    """Which of a file's weights are taken, and what is computed with them."""

    weights: Annotated[
        Literal["plain", "ema"] | None,
        typer.Option(help="Which of a file's weights [default: those of the published accuracy]."),
    ]
    gate: Annotated[Literal["single", "double"] | None, typer.Option(help="The gate's function [default: the file's].")]
    channel_aggregation: Annotated[
        Literal["reference", "paddle"] | None,
        typer.Option("--channel-aggregation", help="The channel mixer's function [default: the file's]."),
    ]
    stem_stride: Annotated[
        int | None, typer.Option("--stem-stride", help="4, 2 or 1; tensors do not show it [default: the file's, or 4].")
    ]


Channels = Annotated[
    int | None, typer.Option("--in-chans", min=1, help="Another number of input channels: the stem is adapted.")
]


class StemChoices(FunctionChoices, total=False):
    """The choices that leave a model its classes."""

    in_chans: Channels


class AllChoices(FunctionChoices, total=False):
    """All choices among a MODEL's weights."""

    num_classes: Annotated[
        int | None, typer.Option("--num-classes", min=0, help="Another number of classes: the head starts anew.")
    ]
    in_chans: Channels


class Running(TypedDict, total=False):
    """How a network is computed."""

    precision: Precision
    runtime: Runtime


class Reading(TypedDict, total=False):
    """How images come to it."""

    batch_size: Annotated[
        int | None, typer.Option(min=1, max=MAX_BATCH, help="Images at a time [default: 128 on a GPU, else 32].")
    ]
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read images; 0 reads without [default: one a core, up to 16]."),
    ]


class Asking(Running, StemChoices, total=False):
    """What a verb passes on that asks a model for its classes."""


class Measuring(Reading, Asking, total=False):
    """What a verb passes on that asks so of many images."""


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose last parameter is `**passed: Unpack[…]` the options that it unpacks, before its --json.

    The command gets those that were given or have a default, so that it can pass them on as they are.
    """
    *own, passed = inspect.signature(command).parameters.values()
    (kind,) = get_args(passed.annotation)
    hints = get_type_hints(kind, include_extras=True)
    offered = [
        inspect.Parameter(name, own[-1].kind, default=DEFAULTS.get(name), annotation=hint)
        for name, hint in hints.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value for name, value in given.items() if name not in hints or value is not None})

    parameters = [*own[:-1], *offered, own[-1]]
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
