"""A network that torch runs, in the form in which it is fastest."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from moganet.inference.runs import Array, Outputs
from moganet.machine import half_type
from moganet.network.fuse import fastest


class EagerRun:
    """Run a network with torch, in the form in which it is fastest, or in another."""

    runtime = "eager"

    def __init__(
        self,
        network: nn.Module,
        precision: str,
        outputs: tuple[str, ...] = ("logits",),
        form: Callable[[nn.Module], nn.Module] = fastest,
    ) -> None:
        self.precision, self.outputs = precision, outputs
        self.device = next(network.parameters()).device
        self.network = form(network).to(self.device).to(memory_format=torch.channels_last)
        self.half = half_type(precision)

    def __call__(self, images: Array) -> Outputs:
        found = self.tensors(torch.from_numpy(images))
        return {name: values.float().cpu().numpy() for name, values in found.items()}

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Give the outputs as tensors on the device, for images on any."""
        half: AbstractContextManager[object] = nullcontext()
        if self.half is not None:
            half = torch.autocast(self.device.type, self.half)
        with torch.inference_mode(), half:
            found = self.network(x.to(self.device, torch.float32, memory_format=torch.channels_last))
        return found if isinstance(found, dict) else {self.outputs[0]: found}
