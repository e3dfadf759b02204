"""Pictures are drawn for any number of classes, images and epochs."""

import pytest
import torch
from PIL import Image

from moganet.report import GridItem, draw_curves, draw_grid
from moganet.report.curves import Metric


@pytest.mark.parametrize("epochs", [0, 1, 3, 200])
def test_curves(epochs, tmp_path):
    metrics = {name: {e: 1 / (e + 1) for e in range(epochs)} for name in ("train/loss", "val/loss", "val/map")}
    draw_curves(metrics, tmp_path / "c.png", "title", Metric("map", "Mean average precision", "precision"))
    with Image.open(tmp_path / "c.png") as image:
        assert image.width > 800


@pytest.mark.parametrize("number", [1, 7, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_grid(number, channels, tmp_path):
    image = torch.zeros(channels, 20, 30, dtype=torch.uint8)
    items = [GridItem(image, "a very long name of a class indeed", 0.5, [None, "b"][i % 2]) for i in range(number)]
    draw_grid(items, tmp_path / "g.png", "title")
    with Image.open(tmp_path / "g.png") as image:
        assert image.width > 100
