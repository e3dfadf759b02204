"""What training on ImageNet for 300 epochs needs on 1 to 512 devices, from what is measured on this one.

python benchmarks/scale.py [--calculate]
Measured, written to scale.json: each variant's rate of whole optimizer steps at 224 px, the rate of a 2048 x 2048
product in the same run, and the bytes that a step keeps for its backward pass. Calculated from these: everything else
(see docs/scale.md). --calculate keeps the measurements of the file.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from moganet import build_network
from moganet.engine.doctor import environment
from moganet.machine import in_turns, keep_freed_memory
from moganet.network.cost import count_macs

VARIANTS = ("xtiny", "tiny", "small", "base", "large", "xlarge")
ROUNDS, SIZE = 5, 224
IMAGES, EPOCHS, JPEG_BYTES = 1_281_167, 300, 110_000
# A GPU of the A100's kind: bfloat16 operations a second, bytes a second to its neighbours and to other machines.
LEAST_IMAGES = 16  # on a device in a step, for its norms' sake and its own speed
PEAK, NEAR, FAR, GPUS_A_MACHINE = 312e12, 300e9, 25e9, 8


def bytes_for_backward(network: torch.nn.Module, images: Tensor) -> int:
    """Sum the storages that autograd keeps, each once, without the parameters."""
    kept = {parameter.untyped_storage().data_ptr(): 0 for parameter in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(images)
    total = sum(kept.values())
    del logits
    return total


def measure(name: str) -> dict[str, Any]:
    """Time whole steps (forward, backward, AdamW) and products in turns."""
    network = build_network(f"moganet_{name}").train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batch = 8 if name in ("xtiny", "tiny", "small") else 2
    images = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.long)
    matrix = torch.randn(2048, 2048)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    times, products = in_turns([step, lambda: matrix @ matrix], ROUNDS)
    macs = count_macs(build_network(f"moganet_{name}"), 3, (SIZE, SIZE))
    rate = batch / median(times)
    return {
        "variant": f"moganet_{name}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs,
        "batch": batch,
        "images_per_second": rate,
        "share_of_a_product": rate * 6 * macs / (2 * 2048**3 / median(products)),
        "bytes_for_backward_per_image": bytes_for_backward(network, images[:1].repeat(2, 1, 1, 1)) / 2,
    }


def calculate(measured: dict[str, Any], devices: int) -> dict[str, float]:
    """Scale one device's figures to several; all-reduce by rings, not hidden behind the backward pass."""
    rate = measured["share_of_a_product"] * PEAK / (6 * measured["macs"])
    per_device = max(LEAST_IMAGES, 1024 // devices)
    compute = per_device / rate
    exchanged = 2 * (devices - 1) / devices * 4 * measured["parameters"]
    exchange = exchanged / (NEAR if devices <= GPUS_A_MACHINE else FAR)
    step = compute + exchange
    return {
        "devices": devices,
        "images_a_step": per_device * devices,
        "gradient_bytes_a_step": exchanged,
        "exchange_share": exchange / step,
        "images_per_second": per_device * devices / step,
        "megabytes_of_jpeg_per_second": per_device * devices / step * JPEG_BYTES / 1e6,
        "gigabytes_of_memory": (20 * measured["parameters"] + per_device * measured["bytes_for_backward_per_image"] / 2)
        / 1e9,
        "hours": IMAGES * EPOCHS / (per_device * devices / step) / 3600,
    }


def main() -> None:
    path = Path(__file__).with_suffix(".json")
    if "--calculate" in sys.argv:
        stored = json.loads(path.read_text(encoding="utf-8"))
        measured, machine = [one["measured"] for one in stored["variants"]], stored["environment"]
    else:
        keep_freed_memory()
        measured, machine = [measure(name) for name in VARIANTS], environment().plain()
    variants = [{"measured": one, "calculated": [calculate(one, n) for n in (1, 8, 64, 512)]} for one in measured]
    text = json.dumps({"variants": variants, "environment": machine}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
