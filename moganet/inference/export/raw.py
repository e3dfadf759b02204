"""Preprocessing as part of a graph: uint8 images in, probabilities out, by operations that all runtimes have.

Resizing is two products with matrices that are computed from the image's size. Like Pillow's, the filter widens where
an image shrinks, and values are rounded after each direction.
"""

import torch
from torch import Tensor, nn

from moganet.config import Preprocessing

PLAIN = "plain"  # bilinear without a filter against aliasing
CUBIC = -0.5  # the cubic's parameter in Pillow, and in torch's antialiased resizing


class RawGraph(nn.Module):
    """A network with its preprocessing: uint8 (B, H, W, C) to probabilities (B, classes), and what the network gives.

    temperature: what the logits are divided by before; None leaves them, as a model's own probabilities do.
    activation: what makes probabilities of them, "softmax" or "sigmoid".
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, temperature: float | None, activation: str
    ) -> None:
        super().__init__()
        self.activation = activation
        self.preprocess, self.network = RawPreprocess(preprocessing), network
        self.temperature = temperature or 1.0

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        given = self.network(self.preprocess(images))
        given = given if isinstance(given, tuple) else (given,)
        logits = given[0] / self.temperature
        return (logits.softmax(1) if self.activation == "softmax" else logits.sigmoid()), *given


class RawPreprocess(nn.Module):
    """Images uint8 (B, H, W, C) to the network's input, float (B, C, h, w)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.size, self.mode = preprocessing.size, preprocessing.interpolation
        self.squash, self.antialias = preprocessing.crop_mode == "squash", preprocessing.antialias
        self.full = [int(side / preprocessing.crop_fraction) for side in preprocessing.size]
        std = torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std)).view(-1, 1, 1))
        self.register_buffer("shift", (torch.tensor(preprocessing.mean) / std).view(-1, 1, 1))
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float()  # (B, C, H, W)
        height, width = _length(pixels[0, 0, :, 0]), _length(pixels[0, 0, 0])
        to_height, to_width = self._target(height, width)
        mode = self.mode if self.antialias else PLAIN
        columns = resize_matrix(_positions(pixels[0, 0, 0]), width, to_width, self.size[1], mode)  # (w, W)
        rows = resize_matrix(_positions(pixels[0, 0, :, 0]), height, to_height, self.size[0], mode)  # (h, H)
        pixels = pixels @ columns.T
        if self.antialias:  # OpenCV rounds once, Pillow after each direction
            pixels = pixels.round().clamp(0, 255)
        pixels = (rows @ pixels).round().clamp(0, 255)
        return pixels * self.scale - self.shift

    def _target(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Give the size to resize to, as moganet.data.preprocess does: the shorter side covers the crop."""
        if self.squash:
            return torch.full_like(height, self.size[0]), torch.full_like(width, self.size[1])
        full_height, full_width = (torch.full_like(height, float(side)) for side in self.full)
        by_height = full_height * width >= full_width * height
        other_width = torch.maximum(full_width, (full_height * width / height).floor())
        other_height = torch.maximum(full_height, (full_width * height / width).floor())
        return torch.where(by_height, full_height, other_height), torch.where(by_height, other_width, full_width)


def _length(line: Tensor) -> Tensor:
    """Give a line's length as a number that a tracer does not take for a constant."""
    return torch.ones_like(line).sum()


def _positions(line: Tensor) -> Tensor:
    return torch.ones_like(line).cumsum(0) - 1


def resize_matrix(positions: Tensor, length: Tensor, target: Tensor, crop: int, mode: str) -> Tensor:
    """Give the (crop, length) matrix that resizes a line to `target` pixels and takes the middle `crop` of them."""
    scale = length / target
    line = torch.arange(crop, dtype=torch.float32) + ((target - crop) / 2).round()
    if mode == "nearest":
        return (((line + 0.5) * scale).floor()[:, None] == positions).float()
    if mode == PLAIN:  # at the borders the last pixel stands for what lies beyond
        places = ((line + 0.5) * scale - 0.5).clamp(min=0.0)
        places = torch.minimum(places, length - 1)
        return (1 - (places[:, None] - positions).abs()).clamp(min=0)
    stretch = scale.clamp(min=1.0)
    distance = ((positions + 0.5 - ((line + 0.5) * scale)[:, None]) / stretch).abs()
    weights = _cubic(distance) if mode == "bicubic" else (1 - distance).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _cubic(x: Tensor) -> Tensor:
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    zero = torch.zeros_like(x)
    return torch.where(x < 1, near, torch.where(x < 2, far, zero))
