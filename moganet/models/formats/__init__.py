"""Formats of trained models, read without running anything that they hold; those that we write are written here too."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from moganet.errors import WeightsError
from moganet.models.choices import Choices
from moganet.models.formats import birder, hub, mmdet, mmpose, mmseg, official, openmixup, ours, paddle
from moganet.models.formats.format import Format
from moganet.models.reading.checkpoint import Checkpoint, check_values
from moganet.models.reading.contents import Content, read_content

FORMATS: dict[str, Format] = {
    "model": ours.FORMAT,
    "run": ours.RUN_FORMAT,
    "hub": hub.FORMAT,
    "official": official.FORMAT,
    "mmseg": mmseg.FORMAT,
    "mmdet": mmdet.FORMAT,
    "mmpose": mmpose.FORMAT,
    "openmixup": openmixup.FORMAT,
    "dense": openmixup.DENSE_FORMAT,
    "paddle": paddle.FORMAT,
    "birder": birder.FORMAT,
    "timm": official.TIMM_FORMAT,
}
# Keys under which people keep what their classes are called, and how images were prepared.
MAY_SAY_MORE = re.compile(r"(?i)class|label|names|idx|^args$|^meta$|param|config|cfg|transform|^(img|image|input)_")

__all__ = ["FORMATS", "read_checkpoint"]


def read_checkpoint(path: Path, choices: Choices = Choices()) -> Checkpoint:  # noqa: B008 (frozen)
    """Read a file or a hub folder; its format is told by its contents.

    Without a choice of weights, a file that holds both kinds gives those whose accuracy was published.
    Raises WeightsError for a file that is missing, damaged, foreign, or would run code.
    """
    content = Content(path, "folder", {}) if path.is_dir() else read_content(path)
    try:
        if (known := next((known for known in FORMATS.values() if known.recognise(content)), None)) is None:
            raise _foreign(content)
        checkpoint = known.read(content, choices).choose(choices)
        check_values(checkpoint.state, path)
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if str(path) in text else f"{path}: {text}") from None
    return replace(checkpoint, unread=_unread(content.values, checkpoint.read))


def _unread(values: Any, read: tuple[str, ...]) -> tuple[str, ...]:
    told = values if isinstance(values, dict) else {}
    keys = [key for key, value in told.items() if isinstance(key, str) and key not in read and not _is_empty(value)]
    return tuple(key[:60] for key in keys if MAY_SAY_MORE.search(key) and "." not in key)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, dict | list | tuple | str) and not value)


def _foreign(content: Content) -> WeightsError:
    values = content.values
    if isinstance(values, dict) and "param_groups" in values:
        return WeightsError(f"{content.path} holds an optimizer's state and no network; give the file of the network")
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    shown = [_shown(key, value) for key, value in list(values.items())[:3]] if isinstance(values, dict) else None
    found = f"a {type(values).__name__}" if shown is None else ", ".join(shown)
    known = "; ".join(known.title for known in FORMATS.values())
    return WeightsError(
        f"{content.path} is no MogaNet checkpoint that we know; missing: patch_embed1.projection.0.weight; "
        f"unexpected: {found or 'nothing'}; known: {known}"
    )


def _shown(key: object, value: object) -> str:
    name = key[:60] if isinstance(key, str) else f"a {type(key).__name__}"
    name = "".join(c if c.isprintable() else "?" for c in name)
    return f"{name} {tuple(value.shape)}" if isinstance(value, Tensor) else name
