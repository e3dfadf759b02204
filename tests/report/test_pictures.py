"""Pictures are drawn for any number of classes, images and epochs."""

import numpy as np
import pytest
import torch
from PIL import Image

from moganet.report import GridItem, draw_curves, draw_grid
from moganet.report.charts import epoch_ticks
from moganet.report.curves import Metric
from moganet.report.drawing import caption, captions
from moganet.report.nearest import Tile, draw_nearest


@pytest.mark.parametrize("epochs", [0, 1, 3, 200])
def test_curves(epochs, tmp_path):
    metrics = {name: {e: 1 / (e + 1) for e in range(epochs)} for name in ("train/loss", "val/loss", "val/map")}
    draw_curves(metrics, tmp_path / "c.png", "title", Metric("map", "Mean average precision", "precision"))
    with Image.open(tmp_path / "c.png") as image:
        assert image.width > 800


@pytest.mark.parametrize("last", [*range(1, 40), 90, 300, 1000])
def test_an_axis_of_epochs_begins_with_the_first(last):
    ticks = epoch_ticks(last)
    assert ticks[0] == 1 and ticks == sorted(set(ticks)) and ticks[-1] <= last and len(ticks) <= 8
    assert last < 2 or len(ticks) > 1


def test_long_names_keep_their_ends_and_stay_apart():
    left, right = "very_long_prefix_of_the_left", "very_long_prefix_of_the_right"
    assert caption(left, 18) == "very_long…the_left" and len(caption(right, 19)) == 19
    assert caption("short", 18) == "short" and caption("a\nb", 9) == "a\\nb"
    middles = [f"{'a' * 30}{own}{'b' * 30}" for own in ("one", "two", "twenty", "three")]
    cut = captions([left, *middles, left], 18)
    assert cut[0] == cut[-1] == "very_long…the_left" and len(set(cut)) == 5 and all(len(one) <= 18 for one in cut)
    assert captions([], 18) == [] and captions(["x" * 50] * 2, 18) == [caption("x" * 50, 18)] * 2


def test_a_grid_says_files_and_what_colours_mean(tmp_path, monkeypatch):
    drawn = {}

    def keep(figure, path):
        drawn["titles"] = [axes.get_title() for axes in figure.axes]
        drawn["names"] = [text.get_text() for axes in figure.axes for text in axes.texts]
        drawn["legend"] = [text.get_text() for legend in figure.legends for text in legend.get_texts()]

    monkeypatch.setattr("moganet.report.grids.save_figure", keep)
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    answers = [("a", "a", "/x/1.png"), ("a", "b", "/x/2.png"), ("abcdef", None, "/y/$3$.png")]
    items = [GridItem(image, p, 0.5, t, name=name, classes=tuple(p)) for p, t, name in answers]
    draw_grid(items, tmp_path / "g.png")
    assert drawn["names"] == ["1.png", "2.png", "$3$.png"]
    assert drawn["titles"] == ["a (50 %)", "a (50 %)\nis b", "a\nb\nc\nd\nand 2 more (50 %)", *drawn["titles"][3:]]
    assert [text[:5] for text in drawn["legend"]] == ["right", "wrong", "truth"]
    draw_grid([GridItem(image, "a", 0.5, "a", name=name) for name in ("/x/1.png", "/y/1.png")], tmp_path / "g.png")
    assert drawn["names"] == ["/x/1.png", "/y/1.png"] and drawn["legend"] == ["right"]


@pytest.mark.parametrize("number", [1, 7, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_grid(number, channels, tmp_path):
    image = torch.zeros(channels, 20, 30, dtype=torch.uint8)
    items = [GridItem(image, "a very long name of a class indeed", 0.5, [None, "b"][i % 2]) for i in range(number)]
    draw_grid(items, tmp_path / "g.png", "title")
    with Image.open(tmp_path / "g.png") as image:
        assert image.width > 100


@pytest.mark.parametrize(("queries", "found"), [(9, 1), (1, 3)])
def test_a_contact_sheet_of_many_queries_is_no_strip(queries, found, tmp_path):
    tile = Tile(np.zeros((4, 4, 3), np.uint8), ("a", "b", "c"))
    draw_nearest([[tile] * (1 + found)] * queries, tmp_path / "s.png", "title")
    with Image.open(tmp_path / "s.png") as sheet:
        assert max(sheet.size) <= 6 * min(sheet.size) and (queries == 1 or max(sheet.size) <= 2 * min(sheet.size))
