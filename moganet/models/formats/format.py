"""What a format is: how its files are recognised, read and written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from moganet.config import Architecture
from moganet.errors import ConfigError
from moganet.models.choices import Choices
from moganet.models.description import ModelDescription
from moganet.models.reading.checkpoint import Checkpoint
from moganet.models.reading.contents import Content
from moganet.network import VARIANTS

Write = Callable[[Path, Mapping[str, Tensor], ModelDescription], list[str] | None]


def _is_plain(architecture: Architecture) -> bool:
    return architecture.head is None


class Format(NamedTuple):
    """A file's format. write: gives warnings; None where nobody writes it. suffixes: of the names of such files.

    fits: tells of which networks it can be; else of those on whose maps nothing stands.
    """

    title: str
    recognise: Callable[[Content], bool]
    read: Callable[[Content, Choices], Checkpoint]
    write: Write | None = None
    suffixes: tuple[str, ...] = ()
    fits: Callable[[Architecture], bool] = _is_plain


def differences(architecture: Architecture, theirs: Mapping[str, Any], who: str) -> list[str]:
    """Warn where others would compute another function with a MogaNet's weights. Raises ConfigError for no MogaNet."""
    if architecture.name not in VARIANTS:
        raise ConfigError(f"{architecture.name} is no MogaNet, which {who} knows alone; write a model or hub folder")
    own = {name: getattr(architecture, name) for name in theirs}
    if own == theirs:
        return []
    text = ", ".join(f"{name} {own[name]} (there: {theirs[name]})" for name in theirs if own[name] != theirs[name])
    return [f"{who} would compute another function with these weights than they were trained with: {text}"]
