"""A classifier's sentences and pictures in the report."""

import numpy as np
import pytest
from PIL import Image

from moganet.report.confusion import draw_confusion
from moganet.tasks.classify.confusion import say_confusion
from moganet.tasks.classify.errors import say_errors
from moganet.tasks.classify.reliability import say_reliability
from moganet.tasks.classify.report import say_classes


@pytest.mark.parametrize("number", [1, 2, 10, 30, 120])
def test_confusion(number, tmp_path):
    matrix = np.random.RandomState(0).randint(0, 50, (number, number))
    draw_confusion(matrix, [f"class {i}" for i in range(number)], tmp_path / "c.png", "title")
    with Image.open(tmp_path / "c.png") as image:
        assert image.width > 200


def test_titles_say_the_finding():
    names = ("cat", "dog", "ship")
    confusion = np.array([[7, 3, 0], [1, 9, 0], [0, 0, 10]])
    assert say_confusion(names, confusion) == "Most often “cat” is taken for “dog”: 3 of 10"
    assert say_confusion(names, np.diag([1, 2, 3])) == "No image is taken for another class"
    said = say_classes(names, np.array([0.7, 0.9, 1.0]), np.array([10, 10, 10]))
    assert said == "“cat” is the hardest class, 70.0 % found; “ship” the easiest, 100.0 %"
    assert "overconfident by 5.0 points" in say_reliability(0.05, 0.06, 0.01)
    assert "from 6.0 % to 1.0 %" in say_reliability(0.05, 0.06, 0.01)
    sure = say_errors(np.array([0.95, 0.5, 0.99]), np.array([False, False, True]))
    assert sure == "It makes 2 errors, 1 of them more than 90 % sure"


def test_classes_without_images_are_none_that_is_found_never_or_equally_often():
    names, recall = ("cat", "dog", "ship"), np.array([0.7, np.nan, 0.9])
    said = say_classes(names, recall, np.array([10, 0, 10]))
    assert "“cat” is the hardest" in said and "dog" not in said and "1 of 3 classes have no images" in said
    one = say_classes(names, recall, np.array([10, 0, 0]))
    assert "only class with images" in one and "equally" not in one and "2 of 3" in one
    same = say_classes(names, np.array([0.7, np.nan, 0.7]), np.array([10, 0, 10]))
    assert "Every class with images" in same and "1 of 3" in same
    assert say_classes(names, np.full(3, np.nan), np.zeros(3)) == "No class has images"
