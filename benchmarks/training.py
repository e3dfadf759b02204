"""Time whole optimizer steps against the network in the reference's form, alternating in one run.

The reference's form: eager, f32, contiguous, not cropped, freed memory returned, AdamW as torch makes it by default.
Ours: channels_last, cropped kernels in their quick forms, fused AdamW, freed memory kept; in f32, and by autocast in
bf16 where the processor has units for it.
Writes training.json beside this file. Usage: python benchmarks/training.py [NUMBERS of the settings]
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from sides import Side, compare, reference_form, update
from torch import nn
from torch.nn import functional as F

from moganet import build_network
from moganet.config import OptimizerConfig
from moganet.machine import has_fast_bf16
from moganet.tasks.optimize import build_optimizer
from moganet.tasks.recipes import load_recipe

CIFAR10 = load_recipe("cifar10").network
SETTINGS: tuple[tuple[str, str, dict[str, Any], int, int], ...] = (  # what, variant, options, pixels, batch
    ("moganet_xtiny, stem stride 4", "moganet_xtiny", {}, 224, 32),
    ("moganet_xtiny, stem stride 4", "moganet_xtiny", {}, 32, 128),
    ("moganet_nano, stem stride 2", "moganet_nano", {"stem_stride": 2}, 32, 128),
    ("recipe cifar10", CIFAR10.name, CIFAR10.options(), 32, 128),
)


def make_step(
    network: nn.Module, size: int, batch: int, memory_format: torch.memory_format, *, fused: bool, half: bool = False
) -> Callable[[], None]:
    """Make a function that takes one AdamW step on random images."""
    network = network.train().to(memory_format=memory_format)
    optimizer = build_optimizer(network, OptimizerConfig(), fused=fused)
    images = torch.randn(batch, 3, size, size).to(memory_format=memory_format)
    labels = torch.randint(0, 1000, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def main() -> None:
    """Measure each setting, one part of the JSON each."""
    for what, variant, options, size, batch in [SETTINGS[int(number)] for number in sys.argv[1:]] or SETTINGS:
        torch.manual_seed(0)
        reference = make_step(reference_form(variant, **options), size, batch, torch.contiguous_format, fused=False)
        sides = {"reference's form": Side(reference)}
        for form, half in (("ours", False), ("ours, bf16", True)):
            if half and not has_fast_bf16("cpu"):
                continue
            ours = make_step(build_network(variant, **options), size, batch, torch.channels_last, fused=True, half=half)
            sides[form] = Side(ours, keeps_memory=True)
        rates = {side: batch / seconds for side, seconds in compare(sides).items()}
        ratios = {side: rate / rates["reference's form"] for side, rate in rates.items() if side in list(sides)[1:]}
        update(__file__, f"{what}, {size} px, batch {batch}", {"images_per_second": rates, "ratio": ratios})


if __name__ == "__main__":
    main()
