"""The report's map: what of a set's images it shows, whichever its task, size or features."""

import numpy as np
import pytest
import torch

from moganet.data import ArraySplit
from moganet.report.page import Section
from moganet.tasks import data_map
from moganet.tasks.data_map import draw_map
from moganet.tasks.report import Answers

NAMES = ("a", "<b>")


def answers(number, features=None, targets=None, name="test"):
    images = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (number, 3, 12, 12), np.uint8))
    targets = torch.arange(number) % 2 if targets is None else targets
    if features is None:
        features = np.random.RandomState(1).randn(number, 6).astype(np.float32) + 5 * np.eye(6)[np.arange(number) % 2]
    places = np.arange(number)
    return Answers(name, ArraySplit(images, targets, name), places, targets, targets, 1.0, (), np.float32(features))


def content(section):
    assert isinstance(section, Section) and not section.left_out
    return section.content


def test_what_stands_alone_is_named_the_loneliest_first():
    features = np.ones((60, 4)) + 0.01 * np.random.RandomState(0).randn(60, 4)
    features[[7, 31]] = [[1, -1, 0, 0], [1, 1, 0, 1]]
    section = draw_map([answers(60, features)], NAMES)
    assert [caption for _, caption in content(section)["lonely"]][:2] == ["<b> (test/7)", "<b> (test/31)"]
    assert section.title.startswith("60 images as the network sees them: no near-copies, ") and "alone" in section.title


@pytest.mark.parametrize("number", [1, 2, 3, 9, 10, 11])
@pytest.mark.parametrize("features", [None, "equal", "zero"])
def test_few_images_and_equal_ones_have_places_too(number, features):
    given = {"equal": np.ones((number, 6)), "zero": np.zeros((number, 6))}.get(features)
    drawn = content(draw_map([answers(number, given)], NAMES))
    assert len(drawn["dots"]) == number and all(0 <= x <= 1000 and 0 <= y <= 720 for x, y, *_ in drawn["dots"])
    assert all(len(near) == min(5, number - 1) for near in drawn["points"]["near"])


def test_of_many_images_some_are_shown_and_of_labels_all(monkeypatch):
    monkeypatch.setattr(data_map, "MAX_POINTS", 50)
    several = torch.tensor([[1, 1], [0, 0], [1, 0]]).repeat(20, 1)
    drawn = content(draw_map([answers(60, targets=several), answers(60, targets=several, name="val")], NAMES))
    assert len(drawn["dots"]) == 50 and "50 of 120 images are shown" in " ".join(drawn["notes"])
    assert {tuple(one) for one in drawn["points"]["classes"]} == {(0, 1), (), (0,)}
    assert {"test/0", "val/0"} <= {caption.partition("(")[2][:-1] for caption in drawn["points"]["captions"]}
    assert {name for _, name in drawn["legend"]} == {"a", "several or none"}
