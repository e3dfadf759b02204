"""Time whole optimizer steps against the network in the reference's form, alternating in one run.

The reference's form: eager, f32, contiguous, not cropped, freed memory returned, AdamW as torch makes it by default.
Ours: channels_last, cropped kernels in their quick forms, fused AdamW, freed memory kept.
Writes training.json beside this file. Usage: python benchmarks/training.py [NUMBERS of the settings]
"""

import sys
from collections.abc import Callable

import torch
from sides import Side, compare, reference_form, update
from torch import nn
from torch.nn import functional as F

from moganet import build_network
from moganet.config import OptimizerConfig
from moganet.tasks.classify import build_optimizer

SETTINGS = (  # variant, stem stride, pixels, batch
    ("moganet_xtiny", 4, 224, 32),
    ("moganet_xtiny", 4, 32, 128),
    ("moganet_nano", 2, 32, 128),
)


def make_step(
    network: nn.Module, size: int, batch: int, memory_format: torch.memory_format, fused: bool
) -> Callable[[], None]:
    """Make a function that takes one AdamW step on random images."""
    network = network.train().to(memory_format=memory_format)
    optimizer = build_optimizer(network, OptimizerConfig(), fused=fused)
    images = torch.randn(batch, 3, size, size).to(memory_format=memory_format)
    labels = torch.randint(0, 1000, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure each setting, one part of the JSON each."""
    for variant, stride, size, batch in [SETTINGS[int(number)] for number in sys.argv[1:]] or SETTINGS:
        torch.manual_seed(0)
        reference = reference_form(variant, stem_stride=stride)
        ours = build_network(variant, stem_stride=stride)
        sides = {
            "reference's form": Side(make_step(reference, size, batch, torch.contiguous_format, False)),
            "ours": Side(make_step(ours, size, batch, torch.channels_last, True), keeps_memory=True),
        }
        rates = {name: batch / seconds for name, seconds in compare(sides).items()}
        result = {"images_per_second": rates, "ratio": rates["ours"] / rates["reference's form"]}
        update(__file__, f"{variant}, stem stride {stride}, {size} px, batch {batch}", result)


if __name__ == "__main__":
    main()
