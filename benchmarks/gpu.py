"""Measure on one GPU what docs/speed.md says of GPUs, in parts, the most telling first; then train cifar10-224.

The file (gpu.json beside this one, or --out FILE) is written again after each part. What there is no time left for is
skipped, and the file says so; other parts in it stay. The training goes by the recipe, in bf16, until the time is up,
from its last save where its folder (--run) holds one. --data names CIFAR-10; without it noise of its size is answered.
Usage: python benchmarks/gpu.py [PARTS] [--minutes 9] [--data cifar10:PATH] [--out FILE] [--run FOLDER] [--set K=V]
       [--device cpu --quick: each part on sizes at which it measures nothing]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_checks import deviations, slowest
from gpu_forms import (
    LATENCY,
    MORE_PREDICTING,
    MORE_TRAINING,
    PREDICTING,
    REFERENCE,
    TRAINING,
    Form,
    Run,
    Turns,
    build,
    measure,
    prediction,
    training_step,
)
from torch import Tensor

import moganet
from moganet.data import ArraySplit
from moganet.data.preprocess import preprocess
from moganet.engine.doctor import environment
from moganet.files import write_text
from moganet.machine import keep_freed_memory
from moganet.network.cost import count_macs
from moganet.tasks.recipes import load_recipe
from moganet.training.origin import read_metrics
from moganet.training.run_folder import METRICS_FILE

Found = dict[str, Any]
RECIPE, VARIANT = "cifar10-224", "xtiny"  # the article's, looked at more closely
ARTICLE = 707.0  # images/s of the article, over CIFAR-10's test set at 224 px on a V100
TO_END = 20.0  # seconds that a training takes to save and leave
COMPILE_SECONDS = 120.0
OTHERS = ("tiny", "small", "base", "large", "xlarge", "nano")
BATCHES = {  # images of a prediction, and of a training step
    "nano": (256, 128),
    "xtiny": (256, 128),
    "tiny": (256, 128),
    "small": (128, 64),
    "base": (64, 32),
    "large": (64, 16),
    "xlarge": (32, 16),
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    batches: dict[str, tuple[int, int]]
    pixels: int = 224
    rounds: int = 5
    seconds: float = 0.15  # of one side in a round
    product: int = 8192  # rows of the matrices of the bound
    copied: int = 1 << 30  # bytes
    test_images: int = 10_000
    test_batch: int = 500
    full_golden: bool = True


QUICK = Sizes(dict.fromkeys(BATCHES, (2, 2)), 32, 1, 0.0, 64, 1 << 10, 8, 4, full_golden=False)


@dataclass
class Book:
    """The result's file, and the time at which the script must be done."""

    path: Path
    end: float
    parts: Found

    def left(self) -> float:
        return self.end - time.monotonic()

    def write(self, name: str, needs: float, work: Callable[[], Found]) -> None:
        """Do a part if there are `needs` seconds left, and write what it gave, or why it gave nothing."""
        start, left = time.monotonic(), self.left()
        if left < needs:
            found: Found = {"skipped": f"{left:.0f} s were left; this part needs {needs:.0f}"}
        else:
            try:
                found = work()
            except Exception as error:  # one part's: the others go on
                found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        found["seconds"] = round(time.monotonic() - start, 1)
        self.parts[name] = found
        write_text(self.path, json.dumps({**self.parts, "environment": environment().plain()}, indent=1) + "\n")
        print(f"{name}: {json.dumps(found)[:2000]}", flush=True)


@dataclass(frozen=True)
class Job:
    """What the script was asked for."""

    device: torch.device
    sizes: Sizes
    data: str | None
    run: Path
    sets: tuple[str, ...]
    book: Book


def machine(job: Job) -> Found:
    """Measure the device's bounds: products of two matrices by precision, and a copy within its memory."""
    rows, device = job.sizes.product, job.device
    kinds = {"f32": (torch.float32, False), "bf16": (torch.bfloat16, False)}
    if device.type == "cuda":
        kinds |= {"f32, TF32": (torch.float32, True), "f16": (torch.float16, False)}
    makes: dict[str, Callable[[], Run]] = {}
    for name, (dtype, tf32) in kinds.items():
        makes[name] = partial(_product, torch.randn(rows, rows, device=device).to(dtype), tf32)
    block = torch.randint(0, 255, (job.sizes.copied,), dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    makes["copy"] = lambda: lambda: target.copy_(block)
    seconds = measure(makes, device, job.sizes.rounds, job.sizes.seconds).seconds
    copied = 2 * job.sizes.copied / seconds.pop("copy") / 1e9
    named = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    flops = {name: 2 * rows**3 / each / 1e12 for name, each in seconds.items()}
    cudnn = torch.backends.cudnn.version() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    return {"device": named, "cudnn": cudnn, "rows": rows, "tflops": flops, "copied_gb_per_second": copied}


def _product(matrix: Tensor, tf32: bool) -> Run:
    other = torch.randn(matrix.shape, device=matrix.device).to(matrix.dtype)

    def run() -> None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        _ = matrix @ other

    return run


def golden(job: Job) -> Found:
    """Compare the network's answers on the device with the reference implementation's."""
    return deviations(job.device, full=job.sizes.full_golden)


def rates(job: Job, variant: str) -> Found:
    """Time a variant's forms in turns: predicting batches, predicting one image, and training."""
    many, fewer = job.sizes.batches[variant]
    forms, steps = PREDICTING, TRAINING
    if variant == VARIANT:
        forms, steps = {**PREDICTING, **MORE_PREDICTING}, {**TRAINING, **MORE_TRAINING}
    macs = count_macs(build(variant, Form(), job.device), 3, (job.sizes.pixels, job.sizes.pixels))
    found: Found = {"macs": macs, "batch": {"predicting": many, "training": fewer}}
    work = {name: partial(_predicting, job, variant, form, many) for name, form in _possible(forms, job).items()}
    found["predicting"] = _said(job, _measured(job, work), forms, many, 2 * macs)
    work = {name: make for name, make in work.items() if name in LATENCY}
    turns = _measured(job, {name: partial(make.func, *make.args[:-1], 1) for name, make in work.items()})
    found["one_image_ms"] = {name: 1e3 * seconds for name, seconds in turns.seconds.items()} | turns.failed
    work = {name: partial(_training, job, variant, form, fewer) for name, form in _possible(steps, job).items()}
    found["training"] = _said(job, _measured(job, work), steps, fewer, 6 * macs)
    return found


def _predicting(job: Job, variant: str, form: Form, batch: int) -> Run:
    images = _noise(job, batch).to(memory_format=form.layout)
    images = images.to(form.half) if form.cast else images
    return partial(prediction(build(variant, form, job.device), form, images), images)


def _training(job: Job, variant: str, form: Form, batch: int) -> Run:
    return training_step(build(variant, form, job.device), form, _noise(job, batch))


def _noise(job: Job, batch: int) -> Tensor:
    return torch.randn(batch, 3, job.sizes.pixels, job.sizes.pixels, device=job.device)


def _possible(forms: dict[str, Form], job: Job) -> dict[str, Form]:
    """Leave out what only a GPU has."""
    if job.device.type == "cuda":
        return forms
    return {name: form for name, form in forms.items() if not form.graph and form.half is not torch.float16}


def _measured(job: Job, makes: Mapping[str, Callable[[], Run]]) -> Turns:
    return measure(makes, job.device, job.sizes.rounds, job.sizes.seconds)


def _said(job: Job, turns: Turns, forms: dict[str, Form], batch: int, operations: int) -> Found:
    """Say rates, their ratios to the reference's form, shares of the bound of the same precision, and memory."""
    per_second = {name: batch / seconds for name, seconds in turns.seconds.items()}
    bounds = job.book.parts.get("machine", {}).get("tflops", {})
    shares = {
        name: rate * operations / (1e12 * bounds[forms[name].precision])
        for name, rate in per_second.items()
        if forms[name].precision in bounds
    }
    base = per_second.get(REFERENCE)
    return {
        "images_per_second": per_second,
        "ratio": {name: rate / base for name, rate in per_second.items()} if base else {},
        "share_of_bound": shares,
        "peak_bytes_per_image": {name: peak / batch for name, peak in turns.peak.items()},
        "failed": turns.failed,
    }


def kernels(job: Job) -> Found:
    """Say in which kernels the article's network spends its time, predicting and training, in both layouts."""
    many, fewer = job.sizes.batches[VARIANT]
    runs: dict[str, Callable[[], Run]] = {}
    for name in ("bf16 weights", "bf16 weights, contiguous"):
        runs[f"predicting, {name}"] = partial(_predicting, job, VARIANT, PREDICTING[name], many)
    for name in ("bf16", "bf16, contiguous"):
        runs[f"training, {name}"] = partial(_training, job, VARIANT, TRAINING[name], fewer)
    return {name: slowest(make(), job.device) for name, make in runs.items()}


def cifar10_test(job: Job) -> Found:
    """Answer CIFAR-10's test set at 224 px, as the article's code was timed; images are resized on the device."""
    images = torch.randint(0, 256, (job.sizes.test_images, 3, 32, 32), dtype=torch.uint8)
    if job.data is not None:
        split = moganet.open_data(job.data).split("test").with_channels(3)
        assert isinstance(split, ArraySplit)
        images = split.images[: job.sizes.test_images]
    forms = {**PREDICTING, **MORE_PREDICTING}
    names = [name for name in _possible(forms, job) if "contiguous" not in name and "search" not in name]
    makes = {name: partial(_whole_set, job, forms[name], images) for name in names}
    turns = measure(makes, job.device, job.sizes.rounds, 0.0)
    rate = {name: len(images) / seconds for name, seconds in turns.seconds.items()}
    return {
        "images": f"{len(images)} of {'noise' if job.data is None else 'the test set'}",
        "images_per_second": rate,
        "to_the_articles": {name: each / ARTICLE for name, each in rate.items()},
        "failed": turns.failed,
    }


def _whole_set(job: Job, form: Form, images: Tensor) -> Run:
    recipe, device, batch = load_recipe(RECIPE), job.device, job.sizes.test_batch
    preprocessing = recipe.preprocessing.changed(size=job.sizes.pixels)
    like = _noise(job, batch)
    network = build(VARIANT, form, device, num_classes=10)
    answer, source = prediction(network, form, like), images.pin_memory() if device.type == "cuda" else images

    def run() -> list[int]:
        found = []
        for part in source.split(batch):  # type: ignore[no-untyped-call]
            inputs = preprocess(part.to(device, non_blocking=True), preprocessing)
            found.append(answer(inputs).argmax(1))
        return torch.cat(found).tolist()

    return run


def compiled(job: Job) -> Found:
    """Time torch.compile against eager in a process of its own, which is ended where it takes too long."""
    if job.device.type != "cuda":
        return {"skipped": "it takes a minute on a CPU"}
    seconds = min(COMPILE_SECONDS, job.book.left() - 10)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "gpu.json"
        command = [*limited(seconds), sys.executable, __file__, *COMPILED, "--out", out, "--minutes", seconds / 60]
        done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
        found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    parts = {name: found.get(name, {"failed": f"not done after {seconds:.0f} s"}) for name in COMPILED}
    return parts if found else {"failed": done.stderr[-500:]}


def compiled_predicting(job: Job) -> Found:
    """Time predicting with what torch.compile makes, by torch's defaults and with its CUDA graphs."""
    form, batch = PREDICTING["bf16 weights"], job.sizes.batches[VARIANT][0]
    forms = {"bf16 weights": form}
    makes: dict[str, Callable[[], Run]] = {"bf16 weights": partial(_predicting, job, VARIANT, form, batch)}
    for name, how in (("bf16 weights, compiled", "default"), ("bf16 weights, compiled, graphs", "reduce-overhead")):
        forms[name] = replace(form, compiled=how)
        makes[name] = partial(_predicting, job, VARIANT, forms[name], batch)
    return _said(job, _measured(job, makes), forms, batch, 0)


def compiled_training(job: Job) -> Found:
    """Time training steps with what torch.compile makes."""
    form, batch = TRAINING["bf16"], job.sizes.batches[VARIANT][1]
    forms = {"bf16": form, "bf16, compiled": replace(form, compiled="default")}
    makes: dict[str, Callable[[], Run]] = {
        name: partial(_training, job, VARIANT, each, batch) for name, each in forms.items()
    }
    return _said(job, _measured(job, makes), forms, batch, 0)


def training(job: Job) -> Found:
    """Train by the recipe cifar10-224 in bf16 as `moganet train` does, until the time is up."""
    if job.data is None:
        return {"skipped": "--data names no CIFAR-10"}
    seconds = job.book.left() - TO_END
    command = [sys.executable, "-m", "moganet_cli", "train", RECIPE, "--data", job.data, "--out", str(job.run)]
    sets = ("trainer.precision=bf16", *job.sets)
    command += ["--resume", *(text for one in sets for text in ("--set", one))]
    start = time.monotonic()
    done = subprocess.run([*limited(seconds), *command], check=False, capture_output=True, text=True)
    metrics = read_metrics(job.run / METRICS_FILE)
    return {
        "exit_code": done.returncode,  # 143, or 124 of `timeout`: stopped because the time was up
        "said": done.stderr[-1000:],
        "wall_seconds": time.monotonic() - start,
        "settings": list(sets),
        "metrics": {name: dict(rows) for name, rows in metrics.items()},
    }


def limited(seconds: float) -> list[str]:
    """Give what ends a command and its children after so many seconds: asked to at first, and killed at last."""
    return ["timeout", "--kill-after=20", f"{max(1.0, seconds):.0f}"]


PARTS: dict[str, tuple[float, Callable[[Job], Found]]] = {  # seconds without which it is not begun
    "machine": (5, machine),
    "golden": (10, golden),
    "rates of xtiny": (40, partial(rates, variant=VARIANT)),
    "kernels": (15, kernels),
    "cifar10 test": (20, cifar10_test),
    **{f"rates of {name}": (30, partial(rates, variant=name)) for name in OTHERS},
    "compiled": (60, compiled),
    "training": (60, training),
}
COMPILED: dict[str, tuple[float, Callable[[Job], Found]]] = {
    "compiled predicting": (15, compiled_predicting),
    "compiled training": (15, compiled_training),
}


def main() -> None:
    """Do the parts asked for, or all of them in their order."""
    asked = options()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --device cpu --quick tries the script")
    if device.type == "cpu":
        keep_freed_memory()
    known = {**PARTS, **COMPILED}
    if unknown := set(asked.parts) - set(known):
        raise SystemExit(f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    before = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    before.pop("environment", None)
    book = Book(asked.out, time.monotonic() + 60 * asked.minutes, before)
    job = Job(
        device,
        QUICK if asked.quick else Sizes(BATCHES),
        asked.data,
        asked.run or asked.out.parent / RECIPE,
        tuple(asked.sets),
        book,
    )
    for name in asked.parts or PARTS:
        needs, work = known[name]
        book.write(name, 0 if asked.quick else needs, partial(work, job))


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--run", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
