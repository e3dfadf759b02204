"""Time the ways in which OpenVINO can answer many requests on a CPU, in turns: images a second at 224 px.

One by one with all threads; batches of 16 in one request; a stream a core, of which 16 are waited for together, as the
service asks; and streams that are refilled without an end. Writes service_streams.json.
Usage: python benchmarks/service_streams.py [--images 96]
"""

import argparse
from collections.abc import Callable

import numpy as np
import openvino
from inference import predictor
from sides import Side, compare, write

from moganet.inference.cached import CachedRun
from moganet.inference.runs import Array
from moganet.inference.runs.openvino import OpenVinoRun
from moganet.processors import num_threads

AT_ONCE, SIZE = 16, 224


def own_run() -> tuple[Callable[[Array], object], OpenVinoRun]:
    """Give what the service asks, and the run beneath it."""
    model = predictor("xtiny", "openvino")
    model.outputs(np.zeros((1, 3, SIZE, SIZE), np.float32))
    cached = model.run
    assert isinstance(cached, CachedRun)
    (run,) = cached.runs.values()
    assert isinstance(run, OpenVinoRun)
    return model.outputs, run


def batched(run: OpenVinoRun) -> Callable[[Array], object]:
    """Compile the network for batches of one request."""
    model = run.model.clone()
    model.reshape([AT_ONCE, 3, SIZE, SIZE])
    options = {**run.options, "INFERENCE_NUM_THREADS": num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    request = run.core.compile_model(model, "CPU", options).create_infer_request()
    return lambda images: request.infer({0: images})


def main() -> None:
    """Compare the ways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=96)
    number = parser.parse_args().images
    images = np.random.default_rng(0).standard_normal((number, 3, SIZE, SIZE)).astype(np.float32)
    ask, run = own_run()
    in_batches, streams = batched(run), openvino.AsyncInferQueue(run._compiled("THROUGHPUT", num_threads()))

    def parts() -> list[Array]:
        return [images[start : start + AT_ONCE] for start in range(0, number, AT_ONCE)]

    def refilled() -> None:
        for i in range(number):
            streams.start_async({0: images[i : i + 1]})
        streams.wait_all()

    sides = {
        "one by one": Side(lambda: [ask(images[i : i + 1]) for i in range(number)], True),
        "batches of 16 in one request": Side(lambda: [in_batches(part) for part in parts()], True),
        "streams, 16 together": Side(lambda: [ask(part) for part in parts()], True),
        "streams without an end": Side(refilled, True),
    }
    rates = {name: number / seconds for name, seconds in compare(sides, 5).items()}
    write(__file__, {"model": "moganet_xtiny, 224 px", "streams": len(streams), "images_per_second": rates})


if __name__ == "__main__":
    main()
