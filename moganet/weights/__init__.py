"""Released MogaNet checkpoints, by format, read without running anything that they hold."""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moganet.errors import WeightsError
from moganet.weights.checkpoint import Checkpoint, architecture_of
from moganet.weights.official import is_official, read_official
from moganet.weights.openmixup import is_openmixup, read_openmixup
from moganet.weights.paddle import is_paddle, load_arrays, read_paddle

FORMATS = {
    "official": "the MogaNet repository's .pth.tar",
    "openmixup": "OpenMixup's .pth",
    "paddle": "the PaddlePaddle port's .pdparams",
}

# Where a run's last.ckpt keeps the model's description, and how its tensors' names begin.
RUN_KEY, RUN_PREFIX = "moganet", "network."

__all__ = [
    "FORMATS",
    "RUN_KEY",
    "Checkpoint",
    "architecture_of",
    "as_checkpoint",
    "as_run_checkpoint",
    "read_checkpoint",
    "read_content",
]


def read_checkpoint(path: Path, weights: str | None = None) -> Checkpoint:
    """Read a released checkpoint; its format is told by its contents.

    weights: "plain" or "ema" for files that hold both; None takes those whose accuracy was published.
    Raises WeightsError for a file that is missing, damaged, foreign, or would run code.
    """
    return as_checkpoint(read_content(path), path, weights)


def read_content(path: Path) -> Any:
    """Read what a file holds as plain tensors or arrays. Raises WeightsError as `read_checkpoint` does."""
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if zipfile.is_zipfile(path):
        return _load_torch(path)
    with open(path, "rb") as file:
        return load_arrays(file, path)


def as_checkpoint(content: Any, path: Path, weights: str | None = None) -> Checkpoint:
    """Recognise what `read_content` gave as a released checkpoint. Raises WeightsError where it is none."""
    if is_official(content):
        return read_official(content, weights)
    if is_openmixup(content):
        return read_openmixup(content, path)
    if is_paddle(content):
        return read_paddle(content)
    raise _foreign(path, content)


def as_run_checkpoint(content: Any) -> tuple[dict[str, Tensor], str] | None:
    """Give the network's tensors and description where `read_content` gave a run's last.ckpt, else None."""
    if not isinstance(content, dict) or RUN_KEY not in content:
        return None
    state = {
        name.removeprefix(RUN_PREFIX): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith(RUN_PREFIX)
    }
    return state, str(content[RUN_KEY])


def _load_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # official files keep their arguments in one
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, KeyError, EOFError, …
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path} can't be read as plain tensors ({first}); nothing was run") from None


def _foreign(path: Path, content: Any) -> WeightsError:
    keys = ", ".join(map(str, list(content)[:3])) if isinstance(content, dict) else type(content).__name__
    known = "; ".join(FORMATS.values())
    return WeightsError(f"{path} is no MogaNet checkpoint that we know (found: {keys or 'nothing'}); known: {known}")
