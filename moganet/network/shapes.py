"""What a MogaNet's widths, depths and strides must be, and how its channels are divided; without torch."""

from collections.abc import Sequence

STEM_STRIDES = {4: (2, 2), 2: (1, 2), 1: (1, 1)}  # of the stem's two convolutions
NUM_STAGES = 4


def check_shape(embed_dims: Sequence[int], depths: Sequence[int], ratios: Sequence[float], stem_stride: int) -> None:
    """Raise ValueError for a shape that no network has."""
    for name, values in (("embed_dims", embed_dims), ("depths", depths), ("mlp_ratios", ratios)):
        if len(values) != NUM_STAGES or min(values) <= 0:
            raise ValueError(f"{name} is {tuple(values)}; it must be four positive numbers, one a stage")
    if stem_stride not in STEM_STRIDES:
        raise ValueError(f"stem_stride is {stem_stride}; it must be 4, 2 or 1")


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
