"""`convert`: any MODEL as our model file, a hub folder, the official layout, mm's, Paddle's or birder's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from moganet.config import Architecture
from moganet.errors import ConfigError, OutputError, choose_of
from moganet.inference import read_model
from moganet.models.build import complete
from moganet.models.choices import Choices
from moganet.models.chosen import Chosen
from moganet.models.description import refuse_equal_names
from moganet.models.formats import FORMATS
from moganet.notices import noted, say
from moganet.results import Result

Target = Literal["model", "hub", "official", "paddle", "birder", "mmseg", "mmdet", "mmpose"]


class Converted(Result, Chosen):
    """A model in another format. out, target: where, in which. name: the network's. The rest: numbers."""

    model: str
    out: str
    target: Target
    name: str
    tensors: int
    parameters: int
    fixtures: int
    warnings: tuple[str, ...]


@noted
def convert(what: str | Path, out: str | Path, target: Target | None = None, **choices: Any) -> Converted:
    """Write a model in another format; its tensors stay bit for bit what they are.

    target: "model" (ours, one file), "hub" (a folder for timm and the hub), "official" (.pth.tar), "paddle"
        (.pdparams), "birder" (.birder.pt), "mmseg", "mmdet" or "mmpose" (.pth, of segmenters, of detectors, of key
        points); None goes by the name of `out`: without suffix it is a hub folder.
    choices: as in `load`.
    """
    out = Path(out)
    asked = _targets(out) if target is None else [target]
    if not {*asked} <= {*get_args(Target)}:
        raise ConfigError(f"there is no format {target!r} to write; {choose_of(str(target), get_args(Target))}")
    if out.resolve() == Path(what).resolve():
        raise OutputError(f"{out} is the model itself; choose another place")
    stored = read_model(what, Choices(**choices))
    target = _fitting(asked, stored.description.architecture)
    state, description = complete(stored)
    refuse_equal_names(description.class_names, out)
    write = FORMATS[target].write
    assert write is not None, "a target is a format that is written"
    warnings = write(out, state, description) or []
    for warning in warnings:
        say(warning, doubtful=True)
    return Converted(
        model=str(what),
        out=str(out),
        target=target,
        **stored.chosen,
        name=description.architecture.name,
        tensors=len(state),
        parameters=sum(t.numel() for n, t in state.items() if not n.endswith(("_mean", "_var", "_tracked"))),
        fixtures=len(description.fixtures),
        warnings=tuple(warnings),
    )


def _targets(out: Path) -> list[Target]:
    """Give the formats whose files have names such as this."""
    suffixes = {suffix: None for target in get_args(Target) for suffix in FORMATS[target].suffixes}
    suffix = next((s for s in sorted(suffixes, key=len, reverse=True) if s and out.name.endswith(s)), out.suffix)
    if suffix not in suffixes:
        known = ", ".join(filter(None, suffixes))
        raise ConfigError(f"{out} does not say its format; end it in {known}, or give --to")
    return [target for target in get_args(Target) if suffix in FORMATS[target].suffixes]


def _fitting(asked: Sequence[Target], architecture: Architecture) -> Target:
    """Give the first of the formats asked for that can hold a network. Raises ConfigError for none."""
    can = [target for target in get_args(Target) if FORMATS[target].fits(architecture)]
    if (found := next((target for target in asked if target in can), None)) is None:
        what = "classifier" if architecture.head is None else f"network with the head {architecture.head.title}"
        raise ConfigError(f"the format {asked[0]} can't hold a {what}; choose one of {', '.join(can)}")
    return found
