"""Time inference at 224 px against the network in the reference's form, alternating in one run.

The reference's form: eager, f32, contiguous, not fused, not cropped. Writes inference.json beside this file.
Usage: python benchmarks/inference.py [xtiny tiny small] [--compile] [--onnx] [--bf16]
"""

import sys
import warnings
from functools import partial

import torch
from sides import Side, bound_gflops, compare, reference_form, update

import moganet
from moganet.config import Precision
from moganet.inference import Predictor
from moganet.inference.runtimes import Runtime
from moganet.network.cost import count_macs

SIZE, BATCH = 224, 32


def predictor(variant: str, runtime: Runtime, precision: Precision = "f32") -> Predictor:
    """Load an untrained variant; speed does not depend on the weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return moganet.load(f"moganet_{variant}", runtime, precision)


def measure(variant: str, options: set[str]) -> dict[str, object]:
    """Compare a variant's forms: images/s of a batch, and milliseconds for one image."""
    torch.manual_seed(0)
    reference = reference_form(f"moganet_{variant}").eval()
    forms = {"eager, fused, channels_last": predictor(variant, "eager"), "openvino": predictor(variant, "openvino")}
    runtimes: tuple[Runtime, ...] = ("onnx", "compile")
    for runtime in runtimes:
        if f"--{runtime}" in options:
            forms[runtime] = predictor(variant, runtime)
    if "--bf16" in options:
        forms["openvino, bf16"] = predictor(variant, "openvino", "bf16")
    x = torch.randn(BATCH, 3, SIZE, SIZE)

    def run_reference(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return reference(x)  # type: ignore[no-any-return]

    found: dict[str, dict[str, float]] = {}
    for name, images in (("images_per_second", x), ("latency_ms", x[:1])):
        sides = {"reference's form": Side(partial(run_reference, images))}
        for form, made in forms.items():
            sides[form] = Side(partial(made.logits, images), keeps_memory=True)
        seconds = compare(sides, 5 if len(images) > 1 else 20)
        found[name] = {side: BATCH / s if len(images) > 1 else 1e3 * s for side, s in seconds.items()}
    rates, waits = found["images_per_second"], found["latency_ms"]
    macs = count_macs(moganet.build_network(f"moganet_{variant}"), 3, (SIZE, SIZE))
    bound = bound_gflops()
    best = max(rates, key=lambda name: rates[name])
    return {
        **found,
        "ratio": {name: rate / rates["reference's form"] for name, rate in rates.items()},
        "latency_ratio": {name: wait / waits["reference's form"] for name, wait in waits.items()},
        "bound": {"gflops": bound, "images_per_second": bound * 1e9 / (2 * macs)},
        "share_of_bound": {best: rates[best] / (bound * 1e9 / (2 * macs))},
    }


def main() -> None:
    """Measure the named variants, one part of the JSON each."""
    options = {argument for argument in sys.argv[1:] if argument.startswith("--")}
    for variant in [argument for argument in sys.argv[1:] if argument not in options] or ["xtiny", "tiny", "small"]:
        update(__file__, f"moganet_{variant}, {SIZE} px, batch {BATCH}", measure(variant, options))


if __name__ == "__main__":
    main()
