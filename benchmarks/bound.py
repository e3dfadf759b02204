"""How near OpenVINO comes to the bound on moganet_xtiny at 224 pixels, and what the time between goes to.

The bound is what a product of two 2048x2048 matrices reaches in the same turns, in the same precision, divided by the
network's multiply-adds. Beside the runtime's form stand the one with a free number of images (two of them at once), and
one that computes another function: without SiLU and GELU. The profile is OpenVINO's own, of one image in one thread.
Writes bound.json beside this file. Usage: python benchmarks/bound.py
"""

import copy
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from sides import write
from torch import nn

import moganet
from moganet.inference.export.graph import Graph
from moganet.inference.export.openvino import build
from moganet.inference.runs.openvino import OpenVinoRun
from moganet.machine import in_turns
from moganet.network.cost import count_macs
from moganet.network.fuse import fuse

VARIANT, SIZE, IMAGES, ROUNDS, MATRIX = "moganet_xtiny", 224, 16, 11, 2048
PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}
PAUSE = 0.1  # seconds after a product, until torch's threads no longer wait for more of it by turning in circles
FORMS = ("ours", "free batch", "without activations")


class FreeBatch(OpenVinoRun):
    """The runtime with a free number of images, as it was until its batches were fixed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.image, self.batch = None, 0

    def _in_streams(self, images: Any) -> Any:
        queue, found = self._ready("THROUGHPUT"), {}
        queue.set_callback(lambda request, start: found.update({start: self._of(request)}))
        for start in range(0, len(images), 2):
            queue.start_async({0: images[start : start + 2]}, start)
        queue.wait_all()
        return [found[start] for start in sorted(found)]


def without_activations(network: nn.Module) -> nn.Module:
    """Give a copy whose activations do nothing."""
    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.SiLU | nn.GELU):
            network.set_submodule(name, nn.Identity())
    return network


def runs(network: nn.Module, description: Any, precision: str) -> dict[str, OpenVinoRun]:
    """Make the forms that are compared."""
    models = [
        build(Graph(one, description, "openvino", size=(SIZE, SIZE))) for one in (network, without_activations(network))
    ]
    made = (OpenVinoRun(models[0], precision, ["logits"]), FreeBatch(models[0], precision, ["logits"]))
    return dict(zip(FORMS, (*made, OpenVinoRun(models[1], precision, ["logits"])), strict=True))


def measure(forms: dict[str, OpenVinoRun], dtype: torch.dtype, macs: int) -> dict[str, Any]:
    """Time the forms and the product in turns: images/s, one image's milliseconds, and the shares of the bound."""
    images = np.random.default_rng(0).standard_normal((IMAGES, 3, SIZE, SIZE), np.float32)
    a = torch.randn(MATRIX, MATRIX).to(dtype)
    product: list[Callable[[], object]] = [lambda: (a @ a, a @ a), lambda: time.sleep(PAUSE)]
    many = [(lambda run=run: run(images)) for run in forms.values()]
    one = [(lambda run=run: [run(images[:1]) for _ in range(8)]) for run in list(forms.values())[:2]]
    seconds = [median(taken) for taken in in_turns([*product, *many, *one], ROUNDS)]
    bound = 2 * 2 * MATRIX**3 / seconds[0]
    rates = [IMAGES / taken for taken in seconds[2 : 2 + len(forms)]]
    return {
        "bound": {"gflops": bound / 1e9, "images_per_second": bound / (2 * macs)},
        "images_per_second": dict(zip(forms, rates, strict=True)),
        "share_of_bound": {name: rate * 2 * macs / bound for name, rate in zip(forms, rates, strict=True)},
        "one_image_ms": {name: 1e3 * taken / 8 for name, taken in zip(forms, seconds[2 + len(forms) :], strict=False)},
    }


def profile(run: OpenVinoRun, rounds: int = 30) -> dict[str, float]:
    """Give the milliseconds of each kind of layer, for one image in one thread."""
    model = run.model.clone()
    model.reshape([1, 3, SIZE, SIZE])
    options = {**run.options, "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    compiled = run.core.compile_model(model, "CPU", options)
    shapes = {op.get_friendly_name(): op for op in compiled.get_runtime_model().get_ops()}
    request, image = compiled.create_infer_request(), np.zeros((1, 3, SIZE, SIZE), np.float32)
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        request.infer({0: image})
        for node in request.profiling_info:
            if str(node.status) == "Status.EXECUTED":
                taken[node.node_name].append(1e3 * node.real_time.total_seconds())
    kinds: dict[str, float] = defaultdict(float)
    types = {node.node_name: (node.node_type, node.exec_type) for node in request.profiling_info}
    for name, values in taken.items():
        kinds[kind_of(*types[name], shapes.get(name))] += median(values)
    return dict(sorted(kinds.items(), key=lambda found: -found[1]))


def kind_of(node: str, executed: str, op: Any) -> str:
    """Name what a layer is."""
    if node == "GroupConvolution":
        return "depth-wise 3x3, with GELU, and 5x5" if "brgconv" in executed else "depth-wise with dilation"
    if node == "Convolution" and "1x1" in executed:
        channels = op.output(0).get_partial_shape()[1].get_length() if op is not None else 0
        return "1x1 to one channel (decompose)" if channels == 1 else "1x1, with their SiLU"
    known = {"Convolution": "stem and downsampling", "VariadicSplit": "split and concat", "Concat": "split and concat"}
    return known.get(node, "sums, products, means, reorders")


def main() -> None:
    """Measure in each precision."""
    network = moganet.build_network(VARIANT).eval()
    macs = count_macs(copy.deepcopy(network), 3, (SIZE, SIZE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are not trained, on which no speed depends
        description = moganet.load(VARIANT, "eager").config
    result: dict[str, Any] = {"model": VARIANT, "size": SIZE, "macs": macs, "threads": torch.get_num_threads()}
    with torch.no_grad():
        fused = fuse(network)
        for precision, dtype in PRECISIONS.items():
            forms = runs(fused, description, precision)
            result[precision] = {**measure(forms, dtype, macs), "profile_ms": profile(forms["ours"])}
    write(__file__, {**result, "load": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
