"""The golden files, and the weights and images that they were made with; benchmarks/gpu.py asks for them too."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the process that hands out the tests waits for no torch
    import torch

GOLDEN = Path(__file__).parent / "golden"
FULL = {  # file: variant, gate, pixels
    "moganet_xt_224": ("moganet_xtiny", "single", 224),
    "moganet_t_224": ("moganet_tiny", "single", 224),
    "moganet_xt_193": ("moganet_xtiny", "single", 193),
    "moganet_xt_224_force_fp32": ("moganet_xtiny", "double", 224),
}
RELEASED = {  # a file of a release's format: the file of what it gives
    "mini_official.pth.tar": "mini_single_gate_expected",
    "mini_openmixup.pth": "mini_double_gate_expected",
    "mini_paddle.pdparams": "mini_paddle_expected",
}


def golden(name: str) -> dict[str, torch.Tensor]:
    """Read one of the reference implementation's outputs."""
    from safetensors.torch import load_file

    return load_file(GOLDEN / f"{name}.safetensors")


def fill(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Draw every tensor from its own name, as was done for the golden files (numpy's frozen RandomState)."""
    import torch

    drawn = {}
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(1)
            continue
        if name.endswith("running_var"):
            value = 1 + 0.25 * np.tanh(noise)
        elif name.endswith("running_mean"):
            value = 0.1 * noise
        elif "layer_scale" in name:
            value = 0.1 + 0.03 * noise
        elif name.endswith("sigma.scale"):
            value = 0.3 + 0.1 * noise
        elif name.endswith("bias"):
            value = 0.05 * noise
        elif len(shape) == 1:
            value = 1 + 0.1 * noise
        else:
            value = noise * (0.5 / int(np.prod(shape[1:]))) ** 0.5
        drawn[name] = torch.from_numpy(value.astype(np.float32))
    return drawn


def noise_image(number: int, size: int) -> torch.Tensor:
    """Give the golden files' input (number, 3, size, size)."""
    import torch

    return torch.from_numpy(np.random.RandomState(0).standard_normal((number, 3, size, size)).astype(np.float32))
