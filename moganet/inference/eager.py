"""A network that torch runs, in the form in which it is fastest."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from moganet.inference.runs import Array, Outputs, Sizes
from moganet.machine import half_type
from moganet.network.features import gives_features, with_features
from moganet.network.fuse import fastest, layout
from moganet.tasks.guard import FEATURES


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
        self.device = next(network.parameters()).device
        self.layout = layout(network)
        self.network = form(network).to(self.device).to(memory_format=self.layout)
        self.precision, self.outputs = precision, (*outputs, FEATURES) if gives_features(self.network) else outputs
        self.run = with_features(self.network)
        self.half = half_type(precision)

    def __call__(self, images: Array, sizes: Sizes | None = None) -> Outputs:
        found = self.tensors(torch.from_numpy(images), sizes)
        return {name: as_numbers(values).cpu().numpy() for name, values in found.items()}

    def tensors(self, x: Tensor, sizes: Sizes | None = None) -> dict[str, Tensor]:
        """Give the outputs as tensors on the device, for images on any."""
        half: AbstractContextManager[object] = nullcontext()
        if self.half is not None:
            half = torch.autocast(self.device.type, self.half)
        with torch.inference_mode(), half:
            x = x.to(self.device, torch.float32, memory_format=self.layout)
            found = self.run(x) if sizes is None else self.network(x, sizes=sizes)
        if isinstance(found, dict):
            return found
        return dict(zip(self.outputs, found if isinstance(found, tuple) else (found,), strict=True))


def as_numbers(values: Tensor) -> Tensor:
    """Give values in float32, but for whole numbers."""
    return values.float() if values.is_floating_point() else values
