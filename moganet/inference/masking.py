"""An image with absent patches: masks become images on the device, and a network's answers become values."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from moganet.config import Preprocessing
from moganet.errors import ConfigError, choose_of
from moganet.inference.eager import EagerRun
from moganet.inference.predictor import Predictor
from moganet.inference.runtimes import LazyRun
from moganet.interactions import reward_of
from moganet.machine import one_thread
from moganet.models.reading.checkpoint import hash_tensors
from moganet.models.timms import TIMM, is_timms

Logits = Callable[[Tensor], Tensor]  # of images (B, C, H, W) on the device
Baseline = Literal["zero", "mean", "blur"]
Masks = NDArray[np.bool_]
BATCHES = (8, 16, 32, 64, 128, 256, 512)
SLOWEST = 4.0  # seconds that a batch may take while the best size is looked for
WORTH = 1.03  # how many times faster a larger batch must be
BLUR = 8  # the blur's standard deviation is a BLUR-th of the side


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network asked about masked images: how they come to it, and the logit of each of the data set's classes."""

    predictor: Predictor
    logits: Logits
    preprocessing: Preprocessing
    classes: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.predictor.name_of_model

    @property
    def device(self) -> torch.device:
        return torch.device(self.predictor.device)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.preprocessing.channels, *self.preprocessing.size  # (C, H, W)

    @cached_property
    def identity(self) -> str:
        """Give a hash of all that its answers depend on."""
        if not self.predictor.has_module:  # an exported file
            return hashlib.sha256(Path(self.name).read_bytes()).hexdigest()
        architecture = self.predictor.config.architecture
        digest = hash_tensors(self.predictor.model.state_dict())
        if is_timms(architecture.name):
            return f"{digest} {architecture.name.removeprefix(TIMM)}"
        answers = repr([one.logits for one in self.predictor.config.fixtures]) if self.predictor.config.is_own else ""
        return digest + architecture.model_dump_json() + answers


def logits_of(predictor: Predictor) -> Logits:
    """Give what answers; where torch runs the network, images and logits stay tensors on the device."""
    run = predictor.run.opened() if isinstance(predictor.run, LazyRun) else predictor.run
    return (lambda x: run.tensors(x)["logits"]) if isinstance(run, EagerRun) else predictor.logits


def render(image: Tensor, baseline: Tensor, masks: Tensor, grid: int) -> Tensor:
    """Give the image (C, H, W) with each mask's (B, grid * grid) absent patches from the baseline: (B, C, H, W)."""
    (channels, height, width), number = image.shape, len(masks)
    if height % grid == 0 and width % grid == 0:  # broadcast, without a mask of the image's size
        patches = (1, channels, grid, height // grid, grid, width // grid)
        present = masks.view(number, 1, grid, 1, grid, 1)
        return torch.where(present, image.view(patches), baseline.view(patches)).reshape(number, *image.shape)
    # Masks are enlarged by the nearest neighbour, so that any size and grid will do.
    rows, columns = (torch.arange(side, device=image.device) * grid // side for side in (height, width))
    present = masks.view(number, grid, grid)[:, rows][:, :, columns]
    return torch.where(present[:, None], image, baseline)


def baseline_of(kind: Baseline, image: Tensor, mean: Tensor) -> Tensor:
    """Give what absent patches show, of the shape of the image (C, H, W), both after normalisation.

    "zero" is the preprocessing's mean colour, "mean" that of the data set (C,), "blur" the image itself, blurred with
    a standard deviation of an eighth of its shorter side.
    """
    if kind == "zero":
        return torch.zeros_like(image)
    if kind == "mean":
        return mean.to(image).view(-1, 1, 1).expand_as(image).contiguous()
    if kind == "blur":
        shorter = min(image.shape[-2:])
        sigma = shorter / BLUR
        radius = min(round(3 * sigma), shorter - 1)
        return F.gaussian_blur(image, [2 * radius + 1, 2 * radius + 1], [sigma, sigma]) if radius else image.clone()
    raise ConfigError(f"there is no baseline {kind!r}; {choose_of(kind, ('zero', 'mean', 'blur'))}")


class MaskedImage:
    """A value function: masks (B, grid * grid) of an image's patches to rewards (B,) of its true class."""

    def __init__(self, logits: Logits, image: Tensor, baseline: Tensor, label: int, reward: str, grid: int) -> None:
        self.logits, self.image, self.baseline = logits, image.contiguous(), baseline.contiguous()
        self.label, self.reward, self.grid = label, reward, grid
        self.watch: Callable[[int], None] | None = None

    def __call__(self, masks: Masks) -> NDArray[np.float64]:
        present = torch.from_numpy(masks).to(self.image.device)
        with one_thread():
            images = render(self.image, self.baseline, present, self.grid)
        logits = self.logits(images)
        if self.watch is not None:
            self.watch(len(masks))
        return reward_of(logits.float().cpu().numpy(), self.label, self.reward)


def best_batch(logits: Logits, shape: tuple[int, int, int], device: torch.device) -> tuple[int, float]:
    """Find the batch at which a network is fastest, and its images/s there; a few seconds at the most."""
    best, best_rate, began = 1, 0.0, time.perf_counter()
    logits(torch.zeros(BATCHES[0], *shape, device=device))  # what is prepared at first use is not timed
    for size in BATCHES:
        x = torch.randn(size, *shape, device=device)
        times: list[float] = []
        while len(times) < 3 and (not times or sum(times) < 0.5):
            start = time.perf_counter()
            logits(x).cpu()  # which waits for the device
            times.append(time.perf_counter() - start)
        if size / min(times) > WORTH * best_rate:
            best, best_rate = size, size / min(times)
        if min(times) > SLOWEST / 2 or time.perf_counter() - began > 2 * SLOWEST:
            break
    return best, best_rate
