"""What every method of explanation is, takes and gives; how the optional libraries are found."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moganet.errors import ConfigError, import_extra
from moganet.files import atomic_path

# Images (B, C, H, W) to a number for each class, (B, classes): the number of the target is what is explained.
Scores = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Explanation:
    """An image's explanation: a map (H, W) at its own resolution, and what else the method found.

    details: numbers for JSON. segments: the superpixels, (H, W), where the method has them. parts: further maps
    (H, W), by name.
    """

    map: Tensor
    details: dict[str, Any] = field(default_factory=dict)
    segments: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        found = {"map": self.map, **self.parts} | ({} if self.segments is None else {"segments": self.segments})
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in found.items()}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)


@dataclass(frozen=True)
class Method:
    """One way to explain; called, it gives maps (B, H, W) for images (B, C, H, W) and a target class each.

    explain: the function, which gives an Explanation an image. needs_module: it takes the torch module, since it reads
    gradients or inner maps; else any Scores do. needs_branches: that module has MogaNet's branches, and its own head.
    signed: whether a map's negative values speak against the target.
    cost: in the network's runs.
    """

    explain: Callable[..., list[Explanation]]
    needs_module: bool
    signed: bool
    cost: str
    needs_branches: bool = False

    def of(self, model: Any, image: Tensor, target: int, options: Mapping[str, Any]) -> Explanation:
        """Explain one image (C, H, W) with those of the options that are given and that this method knows."""
        own = {key: value for key, value in options.items() if key in self.options and value is not None}
        return self.explain(model, image[None], torch.tensor([target]), **own)[0]

    def __call__(self, model: Any, images: Tensor, targets: Tensor, **options: Any) -> Tensor:
        return torch.stack([found.map for found in self.explain(model, images, targets, **options)])

    @property
    def options(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.explain).parameters.values()
        return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def need(module: str) -> Any:
    """Import a library of the extra `explain`. Raises MissingExtraError where it is not installed."""
    return import_extra(module, "explaining", "explain")


def check_inputs(images: Tensor, targets: Tensor) -> None:
    """Raise ConfigError unless there are images (B, C, H, W) and a target for each."""
    if images.ndim != 4 or targets.shape != images.shape[:1]:
        found = f"{tuple(images.shape)} and {tuple(targets.shape)}"
        raise ConfigError(f"expected images (B, C, H, W) and targets (B,), not {found}")


def score_of(model: Scores, images: Tensor, target: int) -> Tensor:
    """Give the target's number for each image, (B,) in float32 on the CPU."""
    scores = model(images)
    if not 0 <= target < scores.shape[1]:
        raise ConfigError(f"there is no class {target}; the network knows 0 to {scores.shape[1] - 1}")
    return scores[:, target].detach().float().cpu()


@contextmanager
def as_found(module: nn.Module, seed: int = 0) -> Iterator[torch.device]:
    """Evaluate a module within, under a seed; leave its modes and torch's generator as they were. Gives its device."""
    modes = [(part, part.training) for part in module.modules()]
    tensor = next(module.parameters(), None)
    device = tensor.device if tensor is not None else torch.device("cpu")
    module.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(seed)
            yield device
    finally:
        for part, training in modes:
            part.training = training
