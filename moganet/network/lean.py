"""The mixers' forward passes in training, which keep for the backward pass what can't be had again for little.

Autograd keeps the input of each call: in a channel mixer three maps of the hidden width, in a spatial mixer eight of
its own. Of what is here only the maps before an activation are kept, and the rest is computed again from them by the
very same calls, so that it has the same bits: SiLU, GELU, the gate's product, the 3x3 depth-wise convolution, the
decomposition. Convolutions of 1x1 are not computed again: these cost what they cost.
Gradients of gradients take the plain form (`plain` of each), whose every step autograd knows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import functional as F

from moganet.network.depthwise import convolve, gradient_of_kernel

Gradients = tuple[Tensor | None, ...]


def is_worth_it(x: Tensor) -> bool:
    """Tell whether autograd records this call; what traces or compiles it has a plan, and shapes alone need none."""
    if not isinstance(x, Tensor) or x.is_meta:
        return False
    if torch.compiler.is_compiling() or is_tracing():  # type: ignore[no-untyped-call]
        return False
    return torch.is_grad_enabled() and _half_of(x) is not torch.float16


def _half_of(x: Tensor) -> torch.dtype:
    """Give the type that autocast would compute in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _cast(x: Tensor, *others: Tensor) -> list[Tensor]:
    """Do what autocast does: a Function's backward pass does not know of it."""
    half = _half_of(x)
    return [each.to(half) for each in (x, *others)]


def decomposed(y: Tensor, sigma: Tensor) -> Tensor:
    """Give SiLU(y + sigma * (y - GAP(y))), (B, C, H, W); of y (B, C, H, W) nothing else is kept."""
    out: Tensor = _Decomposition.apply(y, sigma)
    return out.to(_half_of(y))


def gated(gate: Tensor, value: Tensor, weight: Tensor, bias: Tensor, times: int) -> Tensor:
    """Give the 1x1 convolution of SiLU(gate) * SiLU(value), (B, C, H, W); SiLU is applied `times` times."""
    gate, value, weight, bias = _cast(gate, value, weight, bias)
    out: Tensor = _GatedProjection.apply(gate, value, weight, bias, times)
    return out


def mixed(
    h: Tensor,
    depthwise: Sequence[Tensor],
    kernels: Sequence[Tensor],
    common: Tensor,
    *,
    step: int = 1,
    keep: bool = False,
) -> Tensor:
    """Give fc2 of the re-weighted GELU(dwconv(h)), (B, C, H, W), for hidden maps h (B, C * ratio, H, W).

    depthwise: kernel (C * ratio, 1, 2u+1, 2s+1) and bias. kernels: those of fc2 with decompose's after them, filled up
    with zeros, (C + 1 + rest, C * ratio, 1, 1), and bias. common: the factor (1, C, 1, 1) of GELU(decompose(y)).
    step: the kernel's dilation. keep: whether the two maps of the hidden width after h are kept too, which is faster.
    """
    out: Tensor = _ChannelMixer.apply(*_cast(h, *depthwise, *kernels, common), step, keep)
    return out


def _of_plain(
    plain: Callable[..., Tensor], inputs: Sequence[Any], gradient: Tensor, wanted: Sequence[bool]
) -> Gradients:
    """Give the gradients that `wanted` asks for in a form that can be differentiated again."""
    with torch.enable_grad():
        out = plain(*inputs)
        chosen = [each for each, want in zip(inputs, wanted, strict=True) if want]
        found = iter(torch.autograd.grad(out, chosen, gradient, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)


def _pointwise(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give a 1x1 convolution's gradients, of its input, weight and bias."""
    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [weight.shape[0]], *options, [True, True, True]
    )
    return found


class _Decomposition(torch.autograd.Function):
    @staticmethod
    def plain(y: Tensor, sigma: Tensor) -> Tensor:
        return F.silu(_decompose(y, sigma)[0])

    @staticmethod
    def forward(y: Tensor, sigma: Tensor) -> Tensor:
        return F.silu(_decompose(y, sigma)[0], inplace=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        y, sigma = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _of_plain(_Decomposition.plain, (y, sigma), gradient, ctx.needs_input_grad)
        z, difference = _decompose(y, sigma)
        of_z = torch.ops.aten.silu_backward(gradient, z)
        of_sigma = (of_z * difference).sum((0, 2, 3), keepdim=True)
        # y goes into z as (1 + sigma) * y - sigma * mean(y)
        of_y = torch.addcmul(of_z, of_z - of_z.mean((2, 3), keepdim=True), sigma)
        return of_y.to(y.dtype), of_sigma


def _decompose(y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    difference = y - y.mean((2, 3), keepdim=True)
    return y + sigma * difference, difference


class _GatedProjection(torch.autograd.Function):
    @staticmethod
    def plain(gate: Tensor, value: Tensor, weight: Tensor, bias: Tensor, times: int) -> Tensor:
        for _ in range(times):
            gate, value = F.silu(gate), F.silu(value)
        return F.conv2d(gate * value, weight, bias)

    forward = plain

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        *kept, ctx.times = inputs
        ctx.save_for_backward(*kept)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        gate, value, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain, inputs = _GatedProjection.plain, (gate, value, weight, bias, ctx.times)
            return _of_plain(plain, inputs, gradient, ctx.needs_input_grad)
        gates, values = [gate], [value]
        for _ in range(ctx.times):
            gates.append(F.silu(gates[-1]))
            values.append(F.silu(values[-1]))
        of_product, of_weight, of_bias = _pointwise(gradient, gates[-1] * values[-1], weight)
        of_gate, of_value = of_product * values[-1], of_product * gates[-1]
        for before_gate, before_value in zip(gates[-2::-1], values[-2::-1], strict=True):
            of_gate = torch.ops.aten.silu_backward(of_gate, before_gate)
            of_value = torch.ops.aten.silu_backward(of_value, before_value)
        return of_gate, of_value, of_weight, of_bias, None


class _ChannelMixer(torch.autograd.Function):
    @staticmethod
    def plain(h: Tensor, *others: Any) -> Tensor:
        kernel, shift, kernels, biases, common, step = others
        return _ChannelMixer.answer(F.gelu(convolve(h, kernel, shift, step)), kernels, biases, common)[0]

    @staticmethod
    def answer(y: Tensor, kernels: Tensor, biases: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        channels = common.shape[1]
        both = F.conv2d(y, kernels, biases)
        map_of_common = both[:, channels : channels + 1]
        return torch.addcmul(both[:, :channels], F.gelu(map_of_common), common, value=-1), map_of_common

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, ctx.step, keep = inputs
        h, kernel, shift, kernels, biases, common = tensors
        before = convolve(h, kernel, shift, ctx.step)
        y = F.gelu(before)
        out, map_of_common = _ChannelMixer.answer(y, kernels, biases, common)
        own = map_of_common.clone()  # no view, which would keep the whole of it
        ctx.save_for_backward(*tensors, own, *((before, y) if keep else ()))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        h, kernel, shift, kernels, biases, common, map_of_common, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs, wanted = (h, kernel, shift, kernels, biases, common, ctx.step), ctx.needs_input_grad[:-1]
            return *_of_plain(_ChannelMixer.plain, inputs, gradient, wanted), None
        of_both, of_common = _of_answer(gradient, map_of_common, common, kernels.shape[0])
        before = kept[0] if kept else convolve(h, kernel, shift, ctx.step)
        of_y, of_kernels, of_biases = _pointwise(of_both, kept[1] if kept else F.gelu(before), kernels)
        of_y = torch.ops.aten.gelu_backward.grad_input(of_y, before, grad_input=of_y)
        del before
        of_kernel, of_shift = gradient_of_kernel(h, of_y, kernel, ctx.step)
        of_h = convolve(of_y, kernel.flip(2, 3), None, ctx.step)
        return of_h, of_kernel, of_shift, of_kernels, of_biases, of_common, None, None


def _of_answer(gradient: Tensor, map_of_common: Tensor, common: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Give the gradients of the convolution of fc2 and decompose (B, width, H, W), and of `common`."""
    batch, channels, height, across = gradient.shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, channels)
    of_common = -(F.gelu(map_of_common).reshape(1, -1) @ rows)
    of_map = -(rows @ common.view(channels, 1)).view(batch, height, across, 1).permute(0, 3, 1, 2)
    of_map = torch.ops.aten.gelu_backward(of_map, map_of_common)
    of_both = gradient.new_empty((batch, height, across, width)).permute(0, 3, 1, 2)
    of_both[:, :channels], of_both[:, channels : channels + 1], of_both[:, channels + 1 :] = gradient, of_map, 0
    return of_both, of_common.view_as(common)
