"""What gpu.py checks beside speed: deviations from the golden files by precision, and the kernels that take longest."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet import build_network
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.network.fuse import fuse

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the golden files, and how their weights are drawn
Found = dict[str, Any]
Case = tuple[nn.Module, Tensor, dict[str, Tensor]]  # a network, its input, and what the reference implementation gives
PRECISIONS: dict[str, tuple[torch.dtype | None, bool]] = {  # autocast's type, and whether TF32 may be used
    "f32": (None, False),
    "f32, TF32": (None, True),
    "bf16": (torch.bfloat16, False),
    "f16": (torch.float16, False),
}
KERNELS, CALLS = 15, 3


def deviations(device: torch.device, *, full: bool) -> Found:
    """Give by precision and file the largest deviation of a logit, of a stage map, and of a gradient's norm.

    full: the published variants' files too, beside the small networks'. Logits are compared fused and not fused, in
    standard deviations of the expected ones; stage maps by their values, or where a file keeps only these their means.
    """
    cases = _cases(full=full)
    chosen = PRECISIONS if device.type == "cuda" else {name: PRECISIONS[name] for name in ("f32", "bf16")}
    found: Found = {}
    for name, (half, tf32) in chosen.items():
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        autocast: AbstractContextManager[object] = nullcontext()
        if half is not None:
            autocast = torch.autocast(device.type, half)
        with autocast:
            found[name] = {file: _deviation(case, device) for file, case in cases.items()}
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False  # as torch begins
    return found


def _cases(*, full: bool) -> dict[str, Case]:
    from golden_files import (  # type: ignore[import-not-found]
        FULL,
        GOLDEN,
        RELEASED,
        fill,
        golden,
        noise_image,
    )

    cases: dict[str, Case] = {}
    for file, (variant, gate, size) in (FULL if full else {}).items():
        network = build_network(variant, gate=gate)
        network.load_state_dict(fill(network.state_dict()))
        cases[file] = network, noise_image(1, size), golden(file)
    for file, expected in RELEASED.items():
        checkpoint = read_checkpoint(GOLDEN / file)
        architecture = architecture_of(checkpoint)
        network = build_network(architecture.name, **architecture.options())
        network.load_state_dict(checkpoint.state, strict=checkpoint.format != "paddle")
        cases[file] = network, golden(expected)["input"], golden(expected)
    return cases


def _deviation(case: Case, device: torch.device) -> Found:
    network, x, expected = case
    network, x = network.to(device).eval().to(memory_format=torch.channels_last), x.to(device)
    expected = {name: tensor.to(device) for name, tensor in expected.items()}
    with torch.no_grad():
        last, maps = network.forward_intermediates(x)  # type: ignore[operator]
        logits = {"logits": network.forward_head(last), "logits, fused": fuse(network)(x)}  # type: ignore[operator,arg-type]
    wanted, spread = expected["logits"], float(expected["logits"].std())
    found: Found = {name: float((given.float() - wanted).abs().max()) / spread for name, given in logits.items()}
    found["same class"] = bool((logits["logits, fused"].argmax(1) == wanted.argmax(1)).all())
    found["stages"] = max(_of_map(stage.float(), i, expected) for i, stage in enumerate(maps, 1))
    if "loss" in expected:
        found["gradients"] = _of_gradients(network, x, expected)
    return found


def _of_map(stage: Tensor, number: int, expected: dict[str, Tensor]) -> float:
    if f"stage{number}" in expected:
        return float((stage - expected[f"stage{number}"]).abs().max())
    return float((stage.mean((0, 2, 3)) - expected[f"stage{number}.mean"]).abs().max())


def _of_gradients(network: nn.Module, x: Tensor, expected: dict[str, Tensor]) -> float:
    """Give the largest relative deviation of the norm of a parameter's gradient."""
    network.zero_grad()
    labels = torch.tensor([3, 7], device=x.device)
    F.cross_entropy(network(x).float(), labels).backward()  # type: ignore[no-untyped-call]
    norms = {name: p.grad.norm() for name, p in network.named_parameters() if p.grad is not None}
    wanted = {name: expected[f"grad_norm.{name}"] for name in norms}
    return max(float((norms[name] / wanted[name] - 1).abs()) for name in norms)


def slowest(run: Any, device: torch.device) -> Found:
    """Give the kernels (on a CPU the operators) that take longest: milliseconds a call, share, and times in a call."""
    on_gpu = device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    run()
    with torch.profiler.profile(activities=[activity]) as profiled:
        for _ in range(CALLS):
            run()
        if on_gpu:
            torch.cuda.synchronize()
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(profiled.key_averages(), key=lambda event: -float(getattr(event, key)))
    total = sum(float(getattr(event, key)) for event in events)
    return {
        "ms": total / CALLS / 1e3,
        "kernels": [
            {
                "name": event.key[:160],
                "ms": float(getattr(event, key)) / CALLS / 1e3,
                "share": float(getattr(event, key)) / total,
                "calls": event.count / CALLS,
            }
            for event in events[:KERNELS]
        ],
    }
