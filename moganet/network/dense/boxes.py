"""Boxes (x1, y1, x2, y2) in pixels: anchors on maps, and boxes as differences from others.

Unlike torchvision's, anchors have the maps' own strides whatever the image's size, and are not rounded; the limit of a
box's growth holds for its shrinking too.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RATIOS = (0.5, 1.0, 2.0)  # of an anchor's height to its width
MOST_GROWTH = abs(math.log(16 / 1000))  # of a side, as a logarithm
Deviations = tuple[float, float, float, float]
UNIT: Deviations = (1.0, 1.0, 1.0, 1.0)


def base_anchors(stride: int, scales: Sequence[float], ratios: Sequence[float] = RATIOS) -> Tensor:
    """Give a place's anchors (ratios x scales, 4) about (0, 0). scales: sides of a square one in strides."""
    heights = torch.tensor(ratios).sqrt()
    sides = stride * torch.tensor(scales)
    across, down = (sides / heights[:, None]).flatten(), (sides * heights[:, None]).flatten()
    return torch.stack([-across, -down, across, down], 1) / 2


def anchors_on(base: Tensor, x: Tensor, stride: int) -> Tensor:
    """Give the anchors of a map (B, C, h, w), (h * w * base, 4), row by row."""
    down, across = (torch.arange(side, device=x.device, dtype=torch.float32) * stride for side in x.shape[2:])
    rows = (down[:, None] + torch.zeros_like(across)).flatten()  # a graph for any size must not know the lengths
    columns = (torch.zeros_like(down)[:, None] + across).flatten()
    shifts = torch.stack([columns, rows, columns, rows], 1)
    return (shifts[:, None] + base.to(x.device)).flatten(0, 1)


def encode(boxes: Tensor, others: Tensor, deviations: Deviations) -> Tensor:
    """Give `others` as differences from boxes, both (N, 4), in the deviations' units."""
    sides, theirs = _sides(boxes), _sides(others)
    shifts = (_middles(others) - _middles(boxes)) / sides
    return torch.cat([shifts, (theirs / sides).log()], 1) / boxes.new_tensor(deviations)


def decode(boxes: Tensor, differences: Tensor, deviations: Deviations, size: Tensor | None = None) -> Tensor:
    """Give the boxes (N, 4) that differ so from others, within an image of a size (height, width) where it is given."""
    moves = (differences * boxes.new_tensor(deviations)).float()
    shift, growth = moves[:, :2], moves[:, 2:]
    sides = _sides(boxes)
    middles, half = _middles(boxes) + sides * shift, sides * growth.clamp(-MOST_GROWTH, MOST_GROWTH).exp() / 2
    decoded = torch.cat([middles - half, middles + half], 1)
    return decoded if size is None else clip(decoded, size)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """Cut boxes (N, 4) off at an image's edge. size: (2,), height and width."""
    ends = size.to(boxes.dtype).flip(0).repeat(2)
    return torch.minimum(boxes.clamp(min=0), ends)


def _middles(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def rows_of(x: Tensor, values: int) -> Tensor:
    """Give a map (B, anchors * values, h, w) as (B, h * w * anchors, values), in float32."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values).float()
