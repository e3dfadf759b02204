"""What the page's frame shows of sections, what its own say in words, and how its pictures are packed."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from moganet.numbers import count, duration, percent, short
from moganet.report.curves import Metric, curves_section, say_curves
from moganet.report.heat import overlay
from moganet.report.images import Images, images_section, say_balance, say_copies, say_sizes
from moganet.report.page import Page, Section, make_sheet, write_page

PRECISION = Metric("map", "Mean average precision", "precision")


def test_a_sheet_holds_each_picture_at_its_place():
    pictures = [np.full((32, 32, 3), 20 * i, np.uint8) for i in range(11)]
    sheet = make_sheet(pictures, 1_000_000)
    image = np.array(Image.open(io.BytesIO(base64.b64decode(sheet.uri.partition(",")[2]))).convert("RGB"))
    assert image.shape == (sheet.rows * 32, sheet.columns * 32, 3)
    for number in range(11):
        y, x = number // sheet.columns * 32 + 16, number % sheet.columns * 32 + 16
        assert abs(int(image[y, x, 0]) - 20 * number) <= 4
    assert make_sheet([], 100).uri == ""


@pytest.mark.parametrize(("side", "number", "most"), [(64, 300, 400_000), (64, 300, 90_000)])
def test_a_sheet_stays_within_its_bytes(side, number, most):
    noise = np.random.default_rng(0).integers(0, 256, (number, side, side, 3), dtype=np.uint8)
    sheet = make_sheet(list(noise), most)
    assert 1000 < len(sheet.uri) <= most and sheet.side <= side


def test_an_overlay_is_bright_where_the_map_is():
    heat = np.zeros((8, 8))
    heat[:, 4:] = 1
    picture = overlay(np.full((16, 16, 3), 90, np.uint8), heat, 96)
    assert picture.shape == (96, 96, 3) and picture[:, 60:].mean() > 1.5 * picture[:, :36].mean()
    assert overlay(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), np.nan), 8).shape == (8, 8, 3)


def test_titles_say_the_finding():
    rising = {"val/map": {epoch: 0.1 * epoch for epoch in range(8)}}
    falling = {"val/map": dict(enumerate([0.1, 0.5, 0.8, 0.6]))}
    assert say_curves(rising, PRECISION) == "Validation precision reached 70.0 % after epoch 8 and was still rising"
    assert say_curves(falling, PRECISION).endswith("80.0 % after epoch 3 and fell to 60.0 %")
    assert "levelled off" in say_curves({"val/map": dict.fromkeys(range(6), 0.9)}, PRECISION)
    assert "balanced: 8 to 9 images" in say_balance({"train": np.array([8, 9])})
    assert "4.0 times" in say_balance({"train": np.array([8, 2])})
    assert say_copies({("train", "test"): 3}) == "Near-copies across splits: 3 of test in train"
    assert say_sizes(np.array([[20, 30], [100, 50]]), (32, 32)).endswith("and 50 % are smaller")


def test_numbers_are_written_as_they_are_read():
    assert (percent(None), percent(0.256), percent(0.256, 0)) == ("-", "25.6 %", "26 %")
    assert (short(1_280_000), short(999), count(1, "image"), count(1200, "image")) == (
        *("1.28 M", "999", "1 image", "1,200 images"),
    )
    assert (duration(9), duration(599), duration(601), duration(36_001)) == ("9 s", "599 s", "10 min", "10 h")


def test_the_frame_takes_any_sections(tmp_path):
    """No class, no matrix and no picture: what a task without them brings."""
    sizes = np.array([[20, 30], [100, 50]])
    sections = [
        curves_section({"val/map": {0: 0.5, 1: 0.75}, "val/loss": {0: 2.0, 1: 1.0}}, PRECISION),
        curves_section({}, PRECISION),
        Section("Masks", "A title with <b>names</b>", left_out={"edges": "They <i>need</i> an extra."}),
        images_section(Images({}, sizes, (32, 32), {("train", "test"): 0}, note="One file can't be read.")),
    ]
    page = Page(
        "50.0 % & more", "<model>", "test", [("IoU", "0.5", "")], sections, make_sheet([], 9), make_sheet([], 9)
    )
    write_page(page, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>50.0 % &amp; more – &lt;model&gt;</title>" in text and text.count("<section>") == 5
    assert "Mean average precision by epoch. validation (plain): 50.0 % after epoch 1, 75.0 % after epoch 2" in text
    assert "They &lt;i&gt;need&lt;/i&gt; an extra." in text and "One file can&#39;t be read." in text
    assert "Images have 20×30 to 100×50 pixels" in text and "The classes are" not in text
    assert list(page.left_out) == ["curves", "edges", "recipe"] and page.left_out["recipe"] in text
    assert ".matrix" not in text
