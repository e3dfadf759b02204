"""What a MogaNet's widths, depths and strides must be, and how its channels are divided; without torch."""

from collections.abc import Sequence
from typing import NamedTuple

STEM_STRIDES = {4: (2, 2), 2: (1, 2), 1: (1, 1)}  # of the stem's two convolutions
OUTPUT_STRIDES = (32, 16, 8)
NUM_STAGES = 4


class Sampling(NamedTuple):
    """How a stage samples the image: by its embedding's stride and dilation.

    growth: what the dilations of its blocks are multiplied with. reduction: its map's stride, in pixels.
    """

    stride: int
    dilation: int
    growth: int
    reduction: int


def check_shape(embed_dims: Sequence[int], depths: Sequence[int], ratios: Sequence[float], stem_stride: int) -> None:
    """Raise ValueError for a shape that no network has."""
    for name, values in (("embed_dims", embed_dims), ("depths", depths), ("mlp_ratios", ratios)):
        if len(values) != NUM_STAGES or min(values) <= 0:
            raise ValueError(f"{name} is {tuple(values)}; it must be four positive numbers, one a stage")
    if stem_stride not in STEM_STRIDES:
        raise ValueError(f"stem_stride is {stem_stride}; it must be 4, 2 or 1")


def samplings(stem_stride: int, output_stride: int) -> list[Sampling]:
    """Give how each stage samples the image where no map shall be coarser than `output_stride`, as timm has it.

    Beyond it an embedding keeps the size, and what comes after it is dilated instead (à trous): each weight meets the
    pixels that it would have met. Raises ValueError for a stride that can't be.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride is {output_stride!r}; it must be 32, 16 or 8")
    found = [Sampling(stem_stride, 1, 1, stem_stride)]
    for _ in range(NUM_STAGES - 1):
        *_, before, reduction = found[-1]
        if reduction < output_stride:
            found.append(Sampling(2, before, before, reduction * 2))
        else:
            found.append(Sampling(1, before, before * 2, reduction))
    return found


def divide_channels(dim: int, dilations: Sequence[int], channel_split: Sequence[int]) -> list[int]:
    """Give the channels of the three orders. Raises ValueError where one has none, or a number is not above 0."""
    if len(dilations) != 3 or len(channel_split) != 3 or min(dilations) < 1 or min(channel_split) < 1:
        given = f"dilations {tuple(dilations)} and channel_split {tuple(channel_split)}"
        raise ValueError(f"{given} need three numbers above 0")
    middle, high = (dim * part // sum(channel_split) for part in channel_split[1:])
    channels = [dim - middle - high, middle, high]
    if min(channels) < 1:
        raise ValueError(f"channel_split {tuple(channel_split)} leaves a group of {dim} channels empty; use more")
    return channels
