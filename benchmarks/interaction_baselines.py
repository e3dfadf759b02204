"""Interaction curves of one network by each baseline: docs/interaction-baselines.png, and the numbers beside this file.

What absent patches show is a choice, and the curve depends on it: the same images, pairs and contexts, once with the
preprocessing's mean colour in their place (zero), once with the data's (mean), once with the image itself, blurred.

Usage: python benchmarks/interaction_baselines.py [MODEL] [--data SOURCE] [--images 40] [--pairs 4] [--contexts 20]
"""

import argparse
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from matplotlib.figure import Figure
from sides import write

import moganet
from moganet.config import Preprocessing
from moganet.data import Split
from moganet.inference.interaction_images import ImageChoice, input_of, mean_colour
from moganet.inference.masking import Baseline, baseline_of, render
from moganet.report.comparisons import interaction_axes
from moganet.report.drawing import names_as_they_are, save_figure

PICTURE = Path(__file__).parents[1] / "docs" / "interaction-baselines.png"
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
SHOWN = 0.5  # of the patches, in the pictures


def main() -> None:
    """Measure with each, draw, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="moganet_nano.cifar10")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--split", default="test")
    for name, number in (("grid", 16), ("images", 40), ("pairs", 4), ("contexts", 20)):
        parser.add_argument(f"--{name}", type=int, default=number)
    asked = parser.parse_args()
    amount = {name: getattr(asked, name) for name in ("grid", "images", "pairs", "contexts")}
    found = {
        kind: moganet.interaction_curves(asked.model, asked.data, asked.split, baseline=kind, **amount).plain()
        for kind in BASELINES
    }
    curves: dict[str, Any] = {kind: one["models"][0] for kind, one in found.items()}
    draw(pictures(asked.model, asked.data, asked.split, asked.grid), curves, PICTURE)
    result: dict[str, Any] = {"model": asked.model, "data": asked.data, "split": asked.split, **amount}
    result |= {kind: {key: one[key] for key in ("curve", "middle", "middle_band")} for kind, one in curves.items()}
    write(__file__, result)


def pictures(model: str, data: str, split: str, grid: int) -> dict[str, np.ndarray]:
    """Give the first measured image (H, W, C), whole and with half of its patches absent in each way."""
    preprocessing = moganet.load(model).config.preprocessing
    part: Split = moganet.open_data(data).splits[split]
    image = input_of(preprocessing, part[ImageChoice(part, (), 0, only_correct=False).order[0]].image)
    mean = mean_colour(part, preprocessing)
    present = torch.rand(1, grid * grid, generator=torch.Generator().manual_seed(0)) < SHOWN
    shown = {"whole": image}
    shown |= {str(kind): render(image, baseline_of(kind, image, mean), present, grid)[0] for kind in BASELINES}
    return {name: _as_picture(each, preprocessing) for name, each in shown.items()}


def _as_picture(image: torch.Tensor, preprocessing: Preprocessing) -> np.ndarray:
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels: np.ndarray = (image.numpy() * std + mean).clip(0, 1).transpose(1, 2, 0)
    return pixels if pixels.shape[2] == 3 else pixels[..., :1].repeat(3, axis=2)


@names_as_they_are
def draw(images: dict[str, np.ndarray], curves: dict[str, Any], path: Path) -> None:
    """Draw the image in each way above, and the curves below."""
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    above, below = parts
    for axes, (name, image) in zip(above.subplots(1, len(images)), images.items(), strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title("the image" if name == "whole" else f"absent: {name}", fontsize=10)
        axes.set_axis_off()
    interaction_axes(below.subplots(), {kind: one["curve"] for kind, one in curves.items()})
    save_figure(figure, path)


if __name__ == "__main__":
    main()
