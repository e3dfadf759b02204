"""Depth-wise convolutions in their quick forms give what the plain call gives, and so do their gradients."""

import pytest
import torch
from torch.nn import functional as F

from moganet.network.depthwise import DepthwiseConv2d

KERNELS = [(3, 1), (5, 1), (5, 2), (7, 3)]
SIZES = [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (13, 14), (20, 5), (1, 9)]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("kernel", "dilation"), KERNELS)
def test_values_and_gradients_are_the_plain_calls(kernel, dilation, size, memory_format):
    torch.manual_seed(0)
    conv = DepthwiseConv2d(8, kernel, dilation)
    x = torch.randn(3, 8, *size).contiguous(memory_format=memory_format).requires_grad_()
    plain = [t.detach().clone().requires_grad_() for t in (x, conv.weight, conv.bias)]
    expected = F.conv2d(*plain, 1, conv.padding, dilation, 8)
    given = conv(x)
    assert torch.allclose(given, expected, atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(conv(x), expected, atol=1e-5)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    given.backward(upstream)
    for ours, theirs in zip((x, conv.weight, conv.bias), plain, strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4 * max(1, theirs.grad.abs().max())), ours.shape


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"),
    [(3, 1, (4, 4)), (5, 2, (5, 5)), (7, 3, (4, 4)), (5, 1, (3, 3)), (5, 1, (5, 4)), (7, 1, (2, 5))],
)
def test_first_and_second_derivatives_are_numerically_right(kernel, dilation, size):
    torch.manual_seed(0)
    conv = DepthwiseConv2d(2, kernel, dilation).double()
    x = torch.randn(1, 2, *size, dtype=torch.double, requires_grad=True)

    def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(convolve, (x, conv.weight, conv.bias))
    assert torch.autograd.gradgradcheck(convolve, (x, conv.weight, conv.bias))


def test_autocast_and_half_types_keep_their_type():
    conv, x = DepthwiseConv2d(4, 7, 3), torch.randn(2, 4, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and x.grad.dtype == conv.weight.grad.dtype == torch.float32
    assert conv.double()(x.double()).dtype == torch.float64


def test_a_frozen_kernel_and_an_input_without_gradient():
    conv = DepthwiseConv2d(4, 5, 2)
    conv.weight.requires_grad_(False)
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None and conv.bias.grad is not None
    conv = DepthwiseConv2d(4, 5, 2)
    conv(torch.randn(1, 4, 6, 6)).sum().backward()
    assert conv.weight.grad is not None
