"""What a caller's network gives for images: which of its outputs are the logits, and whether they are some."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moganet.config import Preprocessing
from moganet.errors import ConfigError, first_line
from moganet.notices import say

LOGITS = "logits"  # the output that is taken where a network names several


def noise(own: Preprocessing) -> Tensor:
    """Give two images (2, C, H, W) of a network's size, always the same."""
    return torch.randn(2, own.channels, *own.size, generator=torch.Generator().manual_seed(0))


def probed(network: nn.Module, own: Preprocessing, output: str | int | None, called: str) -> tuple[nn.Module, Tensor]:
    """Give the network, with one output, and its logits (2, classes) for noise. Raises ConfigError without such."""
    x = noise(own)
    with torch.inference_mode():
        try:
            given, alone = network(x), network(x[:1])
        except Exception as error:  # it is the caller's code
            how = "say the size and channels that it takes: preprocessing={'size': …, 'channels': …}"
            raise ConfigError(f"{called} can't take images {tuple(x.shape)}: {first_line(error)}; {how}") from None
        key = _key(given, output, called)
        found = given if key is None else taken_of(given, key)
        again = alone if key is None else taken_of(alone, key)
        network = network if key is None else OneOutput(network, key)
    if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[0] != 2 or not found.is_floating_point():
        raise ConfigError(f"{called} gives {_said(found)} for two images, and no logits (2, classes)")
    if found.shape[1] < 2:
        raise ConfigError(f"{called} gives one number an image; a logit for each class is needed, also of two")
    if again.shape != found[:1].shape:
        raise ConfigError(f"{called} gives {_said(again)} for one image, and not (1, {found.shape[1]})")
    if not torch.allclose(found[:1], again, rtol=1e-3, atol=1e-4, equal_nan=True):
        what = "something in it draws, or looks at the other images"
        say(f"{called} does not answer the same for an image alone and beside another: {what}", doubtful=True)
    return network, found


def _key(given: Any, output: str | int | None, called: str) -> str | int | None:
    """Say which of a network's outputs is taken; None for its only one."""
    if isinstance(given, Tensor):
        if output is not None:
            raise ConfigError(f"{called} gives one tensor; leave output out")
        return None
    keys: list[Any] = list(given) if isinstance(given, Mapping) else list(getattr(given, "_fields", ()))
    keys = keys or (list(range(len(given))) if isinstance(given, tuple | list) else [])
    if not keys:
        raise ConfigError(f"{called} gives {_said(given)}, and no logits (B, classes)")
    if output is None and LOGITS in keys:
        say(f"{called} gives {', '.join(map(str, keys))}: {LOGITS} are taken; choose otherwise by output=")
        return LOGITS
    place = isinstance(output, int) and isinstance(given, tuple | list) and 0 <= output < len(given)
    if output is None or not (output in keys or place):
        asked = "" if output is None else f", and no {output!r}"
        raise ConfigError(f"{called} gives several outputs{asked}: say which are the logits by output= one of {keys}")
    return output


def _said(given: Any) -> str:
    return f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"


def taken_of(given: Any, key: str | int) -> Any:
    """Give one of several outputs, of a tuple, a named tuple or a mapping."""
    return getattr(given, key) if isinstance(given, tuple) and isinstance(key, str) else given[key]


class OneOutput(nn.Module):
    """A network of which one output is taken."""

    def __init__(self, network: nn.Module, key: str | int) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, x: Tensor) -> Tensor:
        """Give that output."""
        logits: Tensor = taken_of(self.network(x), self.key)
        return logits


def check_logits(logits: Tensor, activation: str, called: str) -> None:
    """Raise ConfigError for logits that are probabilities; say where they may be some."""
    inside = bool(((logits >= 0) & (logits <= 1)).all())
    sums = logits.sum(1)
    if activation == "softmax" and inside and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        what = f"{called} gives probabilities, which sum to 1, and no logits"
        raise ConfigError(f"{what}; take its softmax away, or let it give their logarithms (log_softmax)")
    if activation == "sigmoid" and inside and bool((logits > 0).all()):
        say(f"{called} answers between 0 and 1: if these are probabilities, take its sigmoid away", doubtful=True)
