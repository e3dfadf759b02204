"""Time `embed`, `similar` and `probe` on 10,000 images of CIFAR-10 (32 px), whole verbs in this process.

Usage: python benchmarks/features.py [--data cifar10[:PATH]] [--images 10000] [--rounds 3] [--name features]

embed: of PNG files, into either format, against the network's bare rate; and the most memory of a process that does it
with a tenth of the images and with all. similar: ten of them among all in a file. probe: half is learned from, half
measured, by one that knew nothing of these images (`moganet_nano.digits`) and by `moganet_nano.cifar10`. Writes
features.json. Other work on the machine slows it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from sides import write

import moganet
from moganet.data.resample import normalize
from moganet.inference import Predictor
from moganet.inference.file_stream import BATCH

OWN = """
import re, sys, moganet
moganet.embed(sys.argv[1], sys.argv[2], out=sys.argv[3])
print(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1])
"""
MODEL, OTHER = "moganet_nano.cifar10", "moganet_nano.digits"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="features")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked.data, asked.images, asked.rounds, Path(folder))
    write(str(Path(__file__).with_name(f"{asked.name}.py")), found)


def measure(data: str, number: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Give images a second of embed, seconds of similar and probe, and figures of the latter."""
    predictor = moganet.load(MODEL)
    pictures, images = draw(data, number, folder / "all")
    draw(data, number // 10, folder / "tenth")
    memory = {part: peak(folder / part, folder / f"{part}.npz") for part in ("tenth", "all")}
    seconds = {
        "the network alone": timed(lambda: bare(predictor, images), rounds),
        "embed, files to .npz": timed(lambda: embed(predictor, folder / "all", folder / "f.npz"), rounds),
        "embed, files to .parquet": timed(lambda: embed(predictor, folder / "all", folder / "f.parquet"), rounds),
        "similar, ten among them in a file": timed(
            lambda: moganet.similar(predictor, pictures[:10], folder / "f.npz"), rounds
        ),
    }
    probes = {str(name): probed(name, data, number // 2) for name in (MODEL, OTHER)}
    rates = {name: number / one for name, one in seconds.items() if not name.startswith("similar")}
    return {
        "model": f"{MODEL}, 32 px",
        "runtime": predictor.runtime,
        "images": number,
        "rounds": rounds,
        "load_average": os.getloadavg()[0],  # beyond the number of cores: the figures are too low
        "seconds": seconds,
        "images_per_second": rates,
        "megabytes": memory,
        "probe": probes,
    }


def draw(data: str, number: int, folder: Path) -> tuple[list[Path], np.ndarray]:
    """Write the first images of a set as PNG files; give their paths, and themselves (N, C, H, W)."""
    folder.mkdir()
    split, paths, images = moganet.open_data(data).split("train"), list[Path](), list[np.ndarray]()
    for place in range(number):
        images.append(split[place].image.numpy())
        paths.append(folder / f"{place:05}.png")
        Image.fromarray(images[-1].transpose(1, 2, 0).squeeze()).save(paths[-1], compress_level=1)
    return paths, np.stack(images)


def embed(predictor: Predictor, images: Path, out: Path) -> None:
    moganet.embed(predictor, images, out=out, overwrite=True)


def bare(predictor: Predictor, images: np.ndarray) -> None:
    for start in range(0, len(images), BATCH):
        predictor.outputs(normalize(images[start : start + BATCH], predictor.config.preprocessing))


def probed(model: str, data: str, limit: int) -> dict[str, Any]:
    result = moganet.probe(model, data, limit=limit)
    figures = {name: result.probed[name].value for name in ("linear", "nearest")}
    return {"seconds": result.seconds, "images": result.num_train + result.num_images, **figures}


def timed(run: Callable[[], object], rounds: int) -> float:
    """Give the median seconds; a first round is not counted."""
    taken = []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        run()
        taken += [time.perf_counter() - start] if turn else []
    return median(taken)


def peak(images: Path, out: Path) -> float:
    """Give the most memory of a process of its own that embeds images, in MB, as Linux tells it."""
    done = subprocess.run([sys.executable, "-c", OWN, MODEL, str(images), str(out)], stdout=subprocess.PIPE, check=True)
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()
