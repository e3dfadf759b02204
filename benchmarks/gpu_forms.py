"""The forms in which gpu.py computes a network on a device, in turns: layout, precision, weights, a CUDA graph."""

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moganet import build_network
from moganet.config import OptimizerConfig
from moganet.machine import in_turns
from moganet.network.fuse import fastest
from moganet.tasks.optimize import build_optimizer

Run = Callable[[], object]
Answer = Callable[[Tensor], Tensor]
REFERENCE = "reference's form"


@dataclass(frozen=True)
class Form:
    """One way to compute a network. fused: for predicting; in training it is the optimizer that is fused.

    half: the type of autocast, or with `cast` of the weights and images themselves. tf32: whether a GPU may compute
    convolutions of f32 with its units of ten bits' mantissa, which is what torch allows by default.
    """

    crop: bool = True
    fused: bool = True
    channels_last: bool = True
    half: torch.dtype | None = None
    cast: bool = False
    tf32: bool = True
    graph: bool = False
    search: bool = False  # cuDNN times its algorithms for each shape
    deterministic: bool = False  # as Lightning sets it for `moganet train`
    compiled: str | None = None  # a mode of torch.compile

    @property
    def layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def precision(self) -> str:
        """Name the bound that it is measured against (see gpu.py's part "machine")."""
        names = {torch.bfloat16: "bf16", torch.float16: "f16", None: "f32, TF32" if self.tf32 else "f32"}
        return names[self.half]

    def set_switches(self) -> None:
        """Set torch's global switches to what this form is measured with."""
        torch.backends.cudnn.allow_tf32 = self.tf32
        torch.backends.cudnn.benchmark = self.search
        if torch.are_deterministic_algorithms_enabled() != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic, warn_only=True)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.half is None or self.cast:
            return nullcontext()
        return torch.autocast(device.type, self.half, cache_enabled=not self.graph)


BF16, F16 = torch.bfloat16, torch.float16
AS_REFERENCE = Form(crop=False, fused=False, channels_last=False)
AS_REFERENCE_BF16 = replace(AS_REFERENCE, half=BF16)
PREDICTING: dict[str, Form] = {
    REFERENCE: AS_REFERENCE,
    f"{REFERENCE}, bf16": AS_REFERENCE_BF16,
    "f32": Form(),
    "bf16": Form(half=BF16),
    "bf16 weights": Form(half=BF16, cast=True),
    "bf16 weights, contiguous": Form(half=BF16, cast=True, channels_last=False),
    "bf16 weights, graph": Form(half=BF16, cast=True, graph=True),
}
MORE_PREDICTING: dict[str, Form] = {
    f"{REFERENCE}, bf16, search": replace(AS_REFERENCE_BF16, search=True),
    "f32 without TF32": Form(tf32=False),
    "f16": Form(half=F16),
    "bf16, not fused": Form(half=BF16, fused=False),
    "bf16 weights, search": Form(half=BF16, cast=True, search=True),
}
TRAINING: dict[str, Form] = {
    REFERENCE: AS_REFERENCE,
    f"{REFERENCE}, bf16": AS_REFERENCE_BF16,
    "f32": Form(),
    "bf16": Form(half=BF16),
    "bf16, contiguous": Form(half=BF16, channels_last=False),
}
MORE_TRAINING: dict[str, Form] = {
    f"{REFERENCE}, bf16, search": replace(AS_REFERENCE_BF16, search=True),
    "bf16, search": Form(half=BF16, search=True),
    "bf16, deterministic": Form(half=BF16, deterministic=True),
    "bf16, graph": Form(half=BF16, graph=True),
}
LATENCY = (REFERENCE, f"{REFERENCE}, bf16", "f32", "bf16 weights", "bf16 weights, graph")


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def build(variant: str, form: Form, device: torch.device, **options: object) -> nn.Module:
    """Build a network on a device; speed does not depend on its weights."""
    with torch.device(device):
        return build_network(f"moganet_{variant}", crop_kernels=form.crop, **options)


def prediction(network: nn.Module, form: Form, like: Tensor) -> Answer:
    """Make a function from images (B, C, H, W) to logits (B, classes); a graph takes batches of the shape of `like`."""
    device = like.device
    network = (fastest(network.eval()) if form.fused else network.eval()).to(device).to(memory_format=form.layout)
    dtype = form.half if form.cast and form.half is not None else torch.float32
    network = network.to(dtype)
    if form.compiled:
        network.compile(mode=form.compiled)

    def predict(images: Tensor) -> Tensor:
        form.set_switches()
        with torch.inference_mode(), form.autocast(device):
            logits: Tensor = network(images.to(dtype, memory_format=form.layout))
        return logits

    return replayed(predict, like) if form.graph else predict


def replayed(run: Answer, like: Tensor) -> Answer:
    """Record what a function gives the GPU to do, and give one that does it again with other images."""
    given = like.clone()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run(given)

    def replay(images: Tensor) -> Tensor:
        given.copy_(images)
        graph.replay()
        return kept.clone()

    return replay


def training_step(network: nn.Module, form: Form, images: Tensor) -> Run:
    """Make a function that takes one AdamW step on images (B, C, H, W) of random classes."""
    device, x = images.device, images.to(memory_format=form.layout)
    network = network.train().to(memory_format=form.layout)
    ours = form.crop
    optimizer = build_optimizer(network, OptimizerConfig(), fused=ours)
    labels = torch.randint(0, 1000, (len(images),), device=device)
    form.set_switches()
    answer: Answer = network
    if form.compiled:
        network.compile(mode=form.compiled)
    if form.graph:
        with form.autocast(device):
            answer = cast(Answer, torch.cuda.make_graphed_callables(network, (x,)))

    def step() -> None:
        form.set_switches()
        optimizer.zero_grad()
        with form.autocast(device):
            logits = answer(x)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


@dataclass
class Turns:
    """What forms measured in turns gave: seconds of one call, bytes of memory that a call takes, and what failed."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Repeated:
    """A side that waits for the device once in a round: as often as is needed to be sure of it, seldom otherwise."""

    run: Run
    device: torch.device
    times: int = 1

    def __call__(self) -> None:
        for _ in range(self.times):
            self.run()
        wait(self.device)


def measure(makes: Mapping[str, Callable[[], Run]], device: torch.device, rounds: int, seconds: float) -> Turns:
    """Make each side and time all in turns, each for about `seconds` a round; what can't be run is left out."""
    sides: dict[str, Repeated] = {}
    turns = Turns()
    for name, make in makes.items():
        try:
            side = Repeated(make(), device)
            turns.peak[name] = peak_bytes(side, device)
            start = time.perf_counter()
            side()
            side.times = max(1, int(seconds / (time.perf_counter() - start)))
            sides[name] = side
        except Exception as error:  # of libraries, about one form: the others are measured
            turns.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            gc.collect()
            torch.cuda.empty_cache()
    taken = in_turns(list(sides.values()), rounds)
    turns.seconds = {name: median(each) / sides[name].times for name, each in zip(sides, taken, strict=True)}
    return turns


def peak_bytes(run: Run, device: torch.device) -> int:
    """Give the bytes of the device's memory that a call takes beyond what is taken before it; 0 on a CPU."""
    if device.type != "cuda":
        run()
        return 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before
