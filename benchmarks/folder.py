"""Time `evaluate` and `predict` over a folder of JPEGs against the network's bare rate, alternating in one run.

Beside them the files are read alone, decoded and resized by a thread a core. Where network and reading each use all
cores, both together can be no faster than the sum of their seconds: the ceiling. Draws 320 photograph-like JPEGs of
500x375 pixels. Writes folder.json. Usage: python benchmarks/folder.py
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from inference import predictor
from numpy.typing import NDArray
from PIL import Image
from sides import Side, compare, write

import moganet
from moganet.data.contents import ImageFile
from moganet.data.listing import list_files
from moganet.data.read import read_pixels
from moganet.data.resample import resize_and_crop
from moganet.inference import Predictor
from moganet.inference.file_stream import read_ahead
from moganet.machine import num_cores

CLASSES, IMAGES = 4, 320


def draw_images(folder: Path, number: int = IMAGES) -> None:
    """Write the JPEGs, in a sub-folder for each class: smooth shapes and some noise, as photographs have."""
    generator = np.random.default_rng(0)
    for i in range(number):
        shapes = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
        noise = generator.normal(0, 8, (375, 500, 3))
        pixels = np.clip(np.asarray(shapes) + noise, 0, 255).astype(np.uint8)
        place = folder / f"class_{i % CLASSES}"
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.jpg", quality=90)


def main() -> None:
    """Compare the three."""
    model: Predictor = predictor("xtiny", "auto")
    names = tuple(f"class_{i}" for i in range(1000))
    model.config = model.config.changed(class_names=names)
    x = torch.randn(64, 3, 224, 224)
    with tempfile.TemporaryDirectory() as place:
        draw_images(Path(place))
        files, _ = list_files([place])
        own = model.config.preprocessing

        def seen(file: ImageFile) -> NDArray[np.uint8]:
            return resize_and_crop(read_pixels(file, own.channels, own.white_level), own)

        sides = {
            "the network alone": Side(lambda: [model.logits(x) for _ in range(IMAGES // len(x))], True),
            "the files alone": Side(lambda: [*read_ahead(seen, files, num_cores(), len(files))], True),
            "evaluate": Side(lambda: moganet.evaluate(model, place, "all"), True),
            "predict": Side(lambda: moganet.predict(model, [place]), True),
        }
        rates = {name: IMAGES / seconds for name, seconds in compare(sides).items()}
    bare, both = rates["the network alone"], ("evaluate", "predict")
    ceiling = 1 / (1 / bare + 1 / rates["the files alone"])
    result = {
        "model": "moganet_xtiny, 224 px",
        "runtime": model.runtime,
        "images_per_second": {**rates, "ceiling": ceiling},
        "share": {name: rates[name] / bare for name in both},
        "share_of_ceiling": {name: rates[name] / ceiling for name in both},
    }
    write(__file__, result)


if __name__ == "__main__":
    main()
