"""What the page says in words, and how its pictures are packed."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from moganet.report import findings
from moganet.report.heat import overlay
from moganet.report.sheet import make_sheet


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
    names = ("cat", "dog", "ship")
    confusion = np.array([[7, 3, 0], [1, 9, 0], [0, 0, 10]])
    assert findings.say_confusion(names, confusion) == "Most often “cat” is taken for “dog”: 3 of 10"
    assert findings.say_confusion(names, np.diag([1, 2, 3])) == "No image is taken for another class"
    said = findings.say_classes(names, np.array([0.7, 0.9, 1.0]), np.array([10, 10, 10]))
    assert said == "“cat” is the hardest class, 70.0 % found; “ship” the easiest, 100.0 %"
    rising = {"val/top1": {epoch: 0.1 * epoch for epoch in range(8)}}
    falling = {"val/top1": dict(enumerate([0.1, 0.5, 0.8, 0.6]))}
    assert findings.say_curves(rising).endswith("70.0 % after epoch 8 and was still rising")
    assert findings.say_curves(falling).endswith("80.0 % after epoch 3 and fell to 60.0 %")
    assert "overconfident by 5.0 points" in findings.say_reliability(0.05, 0.06, 0.01)
    assert "from 6.0 % to 1.0 %" in findings.say_reliability(0.05, 0.06, 0.01)
    assert "levelled off" in findings.say_curves({"val/top1": dict.fromkeys(range(6), 0.9)})
    sure = findings.say_errors(np.array([0.95, 0.5, 0.99]), np.array([False, False, True]))
    assert sure == "It makes 2 errors, 1 of them more than 90 % sure"
    assert "balanced: 8 to 9 images" in findings.say_balance({"train": np.array([8, 9])})
    assert "4.0 times" in findings.say_balance({"train": np.array([8, 2])})
    assert findings.say_copies({("train", "test"): 3}) == "Near-copies across splits: 3 of test in train"
    assert findings.say_sizes(np.array([[20, 30], [100, 50]]), (32, 32)).endswith("and 50 % are smaller")


def test_classes_without_images_are_none_that_is_found_never_or_equally_often():
    names, recall = ("cat", "dog", "ship"), np.array([0.7, np.nan, 0.9])
    said = findings.say_classes(names, recall, np.array([10, 0, 10]))
    assert "“cat” is the hardest" in said and "dog" not in said and "1 of 3 classes have no images" in said
    one = findings.say_classes(names, recall, np.array([10, 0, 0]))
    assert "only class with images" in one and "equally" not in one and "2 of 3" in one
    same = findings.say_classes(names, np.array([0.7, np.nan, 0.7]), np.array([10, 0, 10]))
    assert "Every class with images" in same and "1 of 3" in same
    assert findings.say_classes(names, np.full(3, np.nan), np.zeros(3)) == "No class has images"
    assert findings.percent(None) == "-"
