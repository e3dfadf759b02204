"""Depth-wise convolution as the network uses it: cropped to the map, and computed in the forms that are fast on a CPU.

oneDNN has quick kernels for a depth-wise convolution, but not for every shape of it. Where it has none it takes a
general one that is 10 to 70 times slower (measured with its own log, ONEDNN_VERBOSE=1, on a CPU with AVX2):
- forward: where the width is padded by more than four pixels, as for 7x7 with dilation 3. Padding the width by hand
  first is exact, and 27 times as fast at 56x56;
- gradient of the input: a convolution with the kernel turned round, which has the quick forward kernel;
- gradient of the kernel: where the kernel is larger than the map (pad by hand), where it is wider than three pixels
  (strip by strip, over maps that are shifted by hand), and where it is dilated. A dilated convolution is an undilated
  one over each of the dilation² interleaved maps ("phases").
`benchmarks/depthwise.py` times both forms.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import is_scripting, is_tracing  # type: ignore[attr-defined]
from torch.nn import functional as F

WIDEST_PADDING = 4  # of oneDNN's jit_dw kernel with 8 floats a vector
WIDEST_KERNEL = 3  # of oneDNN's jit_dw gradient of the kernel; its height may be any


class DepthwiseConv2d(nn.Conv2d):
    """A depth-wise convolution that keeps height and width, its kernel cropped to the map.

    A tap whose offset is as large as the map never meets a pixel, only padding: 7x7 with dilation 3 on a 4x4 map is
    3x3, on 2x2 it is 1x1. Leaving such taps out changes no result. The kernel is odd and square.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1, crop_kernels: bool = True) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels)
        self.radius, self.step, self.crop_kernels = kernel_size // 2, dilation, crop_kernels

    @torch.jit.unused
    def kernel_for(self, x: Tensor) -> Tensor:
        """Give the kernel as it is cropped to the maps (B, C, H, W)."""
        up, side = (min(self.radius, (length - 1) // self.step) for length in x.shape[2:])
        rows, columns = (slice(self.radius - cut, self.radius + cut + 1) for cut in (up, side))
        return self.weight[:, :, rows, columns]

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        height, width = x.shape[2], x.shape[3]
        up = side = self.radius
        # Where height or width is symbolic (an export with dynamic sizes), the kernel must hold for every size.
        if self.crop_kernels and isinstance(height, int) and isinstance(width, int):
            up = min(self.radius, (height - 1) // self.step)
            side = min(self.radius, (width - 1) // self.step)
        weight = self.weight
        if up < self.radius or side < self.radius:
            middle = self.radius
            weight = weight[:, :, middle - up : middle + up + 1, middle - side : middle + side + 1]
        if not is_scripting():  # noqa: SIM102 (TorchScript reads what stands beside it)
            if self.crop_kernels and _is_for_cpu(x):
                return _convolve(x, weight, self.bias, self.step)
        padding = [self.step * up, self.step * side]
        return F.conv2d(x, weight, self.bias, 1, padding, self.step, self.groups)

    @torch.jit.unused
    def cropped(self, height: int, width: int) -> nn.Conv2d:
        """Give a plain convolution for maps of one size, its kernel cropped to them."""
        up, side = (min(self.radius, (length - 1) // self.step) for length in (height, width))
        rows, columns = (slice(self.radius - cut, self.radius + cut + 1) for cut in (up, side))
        weight = self.weight.detach()[:, :, rows, columns]
        channels, padding = self.out_channels, (self.step * up, self.step * side)
        options: Any = {"padding": padding, "dilation": self.step, "groups": channels, "bias": self.bias is not None}
        conv = nn.Conv2d(channels, channels, (2 * up + 1, 2 * side + 1), **options).to(weight.device, weight.dtype)
        conv.load_state_dict({"weight": weight} | ({} if self.bias is None else {"bias": self.bias.detach()}))
        return conv.requires_grad_(False)


def _is_for_cpu(x: Tensor) -> bool:
    """Tell whether oneDNN will compute this call; what is exported is left to the other runtime's own kernels."""
    exporting = torch.compiler.is_exporting() or is_tracing()  # type: ignore[no-untyped-call]
    return x.device.type == "cpu" and not exporting


@torch.jit.unused
def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, step: int) -> Tensor:
    if torch.is_autocast_enabled("cpu"):  # a Function's backward pass does not know of autocast
        half = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(half), weight.to(half), None if bias is None else bias.to(half)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        out: Tensor = _Depthwise.apply(x, weight, bias, step)
        return out
    return convolve(x, weight, bias, step)


class _Depthwise(torch.autograd.Function):
    """The convolution with gradients in the quick forms. Each is made of differentiable calls, for second orders."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, step: int) -> Tensor:
        return convolve(x, weight, bias, step)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, weight, bias, ctx.step = inputs
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = convolve(gradient, weight.flip(2, 3), None, ctx.step) if ctx.needs_input_grad[0] else None
        of_weight = _gradient_of_kernel(x, gradient, weight, ctx.step) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum((0, 2, 3)) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, step: int) -> Tensor:
    """Convolve in the quick form with zeros around, (B, C, H, W) with a kernel (C, 1, 2u+1, 2s+1) to (B, C, H, W)."""
    up, side = step * (weight.shape[2] // 2), step * (weight.shape[3] // 2)
    if side > WIDEST_PADDING:
        x, side = F.pad(x, (side, side, 0, 0)), 0
    return F.conv2d(x, weight, bias, 1, (up, side), step, x.shape[1])


def gradient_of_kernel(x: Tensor, gradient: Tensor, weight: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Give the gradients of a kernel (C, 1, kh, kw) of dilation `step` and its bias (C,) from that of the output."""
    height, width = weight.shape[2:]
    fits = step == 1 and height <= x.shape[2] and width <= min(WIDEST_KERNEL, x.shape[3])
    if x.device.type == "cpu" and not fits:
        return _gradient_of_kernel(x, gradient, weight, step), gradient.sum((0, 2, 3))
    padding = [step * (height // 2), step * (width // 2)]
    options = ([1, 1], padding, [step, step], False, [0, 0], x.shape[1])
    found = torch.ops.aten.convolution_backward(gradient, x, weight, [len(weight)], *options, [False, True, True])
    return found[1].flatten().view(weight.shape), found[2]


def _gradient_of_kernel(x: Tensor, gradient: Tensor, weight: Tensor, step: int) -> Tensor:
    """Give the gradient of the kernel (C, 1, kh, kw) from that of the output (B, C, H, W)."""
    height, width = weight.shape[2:]
    if height == width == 1:
        return (x * gradient).sum((0, 2, 3)).view_as(weight)
    if step > 1:
        x, gradient = _phases(x, step), _phases(gradient, step)
    up = height // 2
    if height > x.shape[2]:
        x, up = F.pad(x, (0, 0, up, up)), 0
    if width <= min(WIDEST_KERNEL, x.shape[3]):
        found = _kernel_of_strip(x, gradient, weight, [up, width // 2])
    else:
        strips = []
        for first in range(0, width, WIDEST_KERNEL):
            strip = weight[..., first : first + WIDEST_KERNEL]
            left = width // 2 - first
            shifted = F.pad(x, (left, strip.shape[3] - 1 - left))  # as wide as the gradient meets the strip
            strips.append(_kernel_of_strip(shifted, gradient, strip, [up, 0]))
        found = torch.cat(strips, dim=3)
    return found.flatten().view(weight.shape)  # DDP wants the strides of a fresh tensor


def _kernel_of_strip(x: Tensor, gradient: Tensor, strip: Tensor, padding: list[int]) -> Tensor:
    mask, options = [False, True, False], ([1, 1], padding, [1, 1], False, [0, 0], x.shape[1])
    found: Tensor = torch.ops.aten.convolution_backward(gradient, x, strip, None, *options, mask)[1]
    return found


def _phases(x: Tensor, step: int) -> Tensor:
    """Part maps into their step² interleaved ones, filled up with zeros: (B·step², C, H/step, W/step)."""
    batch, channels, height, width = x.shape
    rows, columns = -(-height // step), -(-width // step)
    x = F.pad(x, (0, columns * step - width, 0, rows * step - height)).permute(0, 2, 3, 1)
    x = x.reshape(batch, rows, step, columns, step, channels).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(batch * step * step, rows, columns, channels).permute(0, 3, 1, 2)
