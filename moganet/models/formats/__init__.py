"""Released checkpoints of every format, read without running anything that they hold, and written back."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from moganet.errors import WeightsError
from moganet.models.formats.hub import is_hub_folder, read_hub
from moganet.models.formats.official import is_official, read_official
from moganet.models.formats.openmixup import is_dense, is_openmixup, read_dense, read_openmixup
from moganet.models.formats.paddle import is_paddle, read_paddle
from moganet.models.formats.timm import is_timm, read_timm
from moganet.models.reading.checkpoint import (
    Checkpoint,
    Choices,
    architecture_of,
    check_fit,
    check_values,
    checked_state,
    hash_tensors,
)
from moganet.models.reading.contents import DESCRIPTION_KEY, Content, description_in, read_content


class Format(NamedTuple):
    """A file's format: what it is, and how its content is recognised and read."""

    title: str
    recognise: Callable[[Content], bool]
    read: Callable[[Content, Choices], Checkpoint]


FORMATS = {
    "official": Format("the MogaNet repository's .pth.tar", is_official, read_official),
    "openmixup": Format("OpenMixup's .pth", is_openmixup, read_openmixup),
    "dense": Format("a detector's or segmenter's .pth", is_dense, read_dense),
    "paddle": Format("the PaddlePaddle port's .pdparams", is_paddle, read_paddle),
    "timm": Format("a state dict of the reference's names", is_timm, read_timm),
}

# Where a run's last.ckpt keeps the model's description, and how its tensors' names begin.
# Keys under which people keep what their classes are called, and how images were prepared.
MAY_SAY_MORE = re.compile(r"(?i)class|label|names|idx|^args$|^meta$|param|config|cfg|transform|^(img|image|input)_")
RUN_KEY, RUN_PREFIX = DESCRIPTION_KEY, "network."

__all__ = [
    "DESCRIPTION_KEY",
    "FORMATS",
    "RUN_KEY",
    "Checkpoint",
    "Choices",
    "Content",
    "architecture_of",
    "as_checkpoint",
    "as_run_checkpoint",
    "check_fit",
    "check_values",
    "checked_state",
    "description_in",
    "hash_tensors",
    "is_hub_folder",
    "read_checkpoint",
    "read_content",
]


def read_checkpoint(path: Path, choices: Choices = Choices()) -> Checkpoint:  # noqa: B008 (frozen)
    """Read a released checkpoint or a hub folder; its format is told by its contents.

    Without a choice of weights, a file that holds both kinds gives those whose accuracy was published.
    Raises WeightsError for a file that is missing, damaged, foreign, or would run code.
    """
    if path.is_dir():
        checkpoint = read_hub(path, choices).choose(choices)
        check_values(checkpoint.state, path)
        return checkpoint
    return as_checkpoint(read_content(path), choices)


def as_checkpoint(content: Content, choices: Choices = Choices()) -> Checkpoint:  # noqa: B008 (frozen)
    """Recognise what `read_content` gave as a released checkpoint. Raises WeightsError where it is none."""
    try:
        for known in FORMATS.values():
            if not known.recognise(content):
                continue
            checkpoint = known.read(content, choices).choose(choices)
            check_values(checkpoint.state, content.path)
            return replace(checkpoint, unread=_unread(content.values))
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if str(content.path) in text else f"{content.path}: {text}") from None
    raise _foreign(content)


def _unread(values: Any) -> tuple[str, ...]:
    told = values if isinstance(values, dict) else {}
    keys = [key for key, value in told.items() if isinstance(key, str) and not _is_empty(value)]
    return tuple(key[:60] for key in keys if MAY_SAY_MORE.search(key) and "." not in key)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, dict | list | tuple | str) and not value)


def as_run_checkpoint(content: Content) -> tuple[dict[str, Tensor], str] | None:
    """Give the network's tensors and description where `read_content` gave a run's last.ckpt, else None."""
    values = content.values
    if content.kind != "torch" or not isinstance(values, dict) or not isinstance(values.get(RUN_KEY), str):
        return None
    state = values.get("state_dict")
    if not isinstance(state, dict) or not any(str(name).startswith(RUN_PREFIX) for name in state):
        return None
    own = {n.removeprefix(RUN_PREFIX): t for n, t in state.items() if str(n).startswith(RUN_PREFIX)}
    return checked_state(own, content.path), values[RUN_KEY]


def _foreign(content: Content) -> WeightsError:
    values = content.values
    if isinstance(values, dict) and "param_groups" in values:
        return WeightsError(f"{content.path} holds an optimizer's state and no network; give the file of the network")
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if isinstance(values, dict):
        found = ", ".join(_shown(key, value) for key, value in list(values.items())[:3])
    else:
        found = f"a {type(values).__name__}"
    known = "; ".join(known.title for known in FORMATS.values())
    return WeightsError(
        f"{content.path} is no MogaNet checkpoint that we know; missing: patch_embed1.projection.0.weight; "
        f"unexpected: {found or 'nothing'}; known: {known}"
    )


def _shown(key: object, value: object) -> str:
    name = key[:60] if isinstance(key, str) else f"a {type(key).__name__}"
    name = "".join(c if c.isprintable() else "?" for c in name)
    return f"{name} {tuple(value.shape)}" if isinstance(value, Tensor) else name
