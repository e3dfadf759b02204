"""Time depth-wise convolutions in the forms of network/depthwise.py against the plain call, alternating in one run.

The shapes are moganet_xtiny's, at 224 px (batch 16) and at 32 px (batch 128), and one of the recipe cifar10. Writes
depthwise.json beside this file.
Usage: python benchmarks/depthwise.py
"""

from functools import partial

import torch
from sides import Side, compare, write
from torch import Tensor, nn

from moganet.network.depthwise import DepthwiseConv2d

SHAPES = (  # batch, channels, side, kernel, dilation
    (16, 32, 56, 5, 1),
    (16, 12, 56, 5, 2),
    (16, 16, 56, 7, 3),
    (16, 256, 56, 3, 1),
    (16, 48, 14, 7, 3),
    (16, 384, 14, 3, 1),
    (128, 48, 2, 7, 3),
    (128, 384, 2, 3, 1),
    (128, 96, 8, 5, 1),  # of the recipe cifar10
)


def forward(x: Tensor, convolution: nn.Module) -> None:
    convolution(x.detach())


def both(x: Tensor, upstream: Tensor, convolution: nn.Module) -> None:
    convolution(x).backward(upstream)


def main() -> None:
    """Measure each shape, forward alone and forward with backward."""
    result = {}
    for batch, channels, side, kernel, dilation in SHAPES:
        x = torch.randn(batch, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
        upstream = torch.randn_like(x)
        quick = DepthwiseConv2d(channels, kernel, dilation)
        plain = DepthwiseConv2d(channels, kernel, dilation, crop_kernels=False)
        times = {}
        for name, step in (("forward", partial(forward, x)), ("forward and backward", partial(both, x, upstream))):
            sides = {
                "plain": Side(partial(step, plain), keeps_memory=True),
                "quick": Side(partial(step, quick), keeps_memory=True),
            }
            times[name] = {which: 1e3 * seconds for which, seconds in compare(sides).items()}
        result[f"{kernel}x{kernel}, dilation {dilation}, batch {batch}, {channels} channels, {side}x{side}"] = times
    write(__file__, {"milliseconds": result})


if __name__ == "__main__":
    main()
