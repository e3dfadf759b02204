"""`compare`: the same images whatever their order, tests that are exact, and other questions refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import moganet
from moganet.data.source import ArraySplit, Dataset
from moganet.errors import ConfigError, DataError
from moganet.inference import common
from moganet.inference.seen_by_all import name_apart
from moganet.progress import no_progress
from moganet.tasks import TASKS
from moganet.tasks.judged import holm, judge_pair

HOW = (None, None, no_progress)


@pytest.fixture(scope="module")
def compared(trained_run, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "p.html"
    return moganet.compare([trained_run, "moganet_nano.digits"], out=page)


def test_figures_are_those_of_evaluate_and_the_test_is_mcnemars(compared, trained_run):
    alone = [moganet.evaluate(model) for model in (trained_run, "moganet_nano.digits")]
    assert (compared.data, compared.split, compared.num_images) == ("digits", "test", 360)
    for one, found in zip(alone, compared.models, strict=True):
        assert found.figure == pytest.approx(one.top1) and found.interval == pytest.approx(one.interval)
        assert found.figures["loss"] == pytest.approx(one.loss, abs=1e-5)
    (pair,) = compared.pairs
    assert pair.p == pytest.approx(binomtest(pair.only_first, pair.only_first + pair.only_second).pvalue)
    assert pair.only_first + pair.only_second == len(compared.differing)
    assert pair.difference == pytest.approx(alone[1].top1 - alone[0].top1)
    low, high = pair.interval
    assert low < pair.difference < high
    for one in compared.differing:
        assert [one.truth == answer for answer in one.answers] == list(one.right)
    assert compared.best == "moganet_nano.digits" and "more than chance" in compared.headline()


def test_the_page_shows_curves_test_pictures_and_settings(compared):
    page = Path(compared.page).read_text(encoding="utf-8")
    for text in (
        "Validation: Top-1 accuracy",
        "McNemar",
        "right, digits wrong",
        "network.embed_dims",
        "data:image/webp",
    ):
        assert text in page
    assert "How to get this model again" not in page and "http" not in page.replace("http-equiv", "")
    assert compared.left_out.keys() == {"curves"}  # of what ships, whose run is not here
    assert json.loads(compared.model_dump_json())["num_images"] == 360


def split_of(order):
    """Give images in an order, the third and the fourth equal, of which one is labelled otherwise."""
    kinds = torch.tensor([10, 60, 110, 110, 160, 210], dtype=torch.uint8)[order]
    labels = torch.tensor([0, 1, 0, 1, 1, 0])[order]
    return ArraySplit(kinds.view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone(), labels, "x")


def test_images_are_the_same_by_content_and_label_not_by_place(monkeypatch, trained_run):
    predictor, names = moganet.load(trained_run, "eager"), tuple("0123456789")
    given = iter([split_of([0, 1, 2, 3, 4]), split_of([5, 4, 3, 2, 1])])  # 0 and 5 are each in one only

    def split(*_):
        images = next(given)
        return Dataset("x", names, {"test": images}), "test", images

    monkeypatch.setattr(common, "_split_for", split)
    seen = common.see_common(["a", "b"], [predictor, predictor], None, "test", HOW)
    first, second = seen.answers
    assert first.targets.tolist() == second.targets.tolist() == [1, 0, 1, 1]
    assert torch.equal(first.outputs, second.outputs) and len(first) == 4


def test_other_questions_are_refused_with_a_reason(monkeypatch, trained_run, tmp_path):
    with pytest.raises(ConfigError, match="know other classes"):
        moganet.compare(["moganet_nano.digits", "moganet_nano.cifar10"])
    predictors = [moganet.load(trained_run, "eager") for _ in range(2)]
    monkeypatch.setattr(type(predictors[1]), "task", property(lambda one: tasks[one is predictors[1]]))
    tasks = [TASKS["classify"], TASKS["multilabel"]]
    with pytest.raises(ConfigError, match="b of multilabel: their answers can't be compared"):
        common.check_alike(["a", "b"], predictors)
    monkeypatch.undo()
    splits = iter([split_of([0, 1]), split_of([4, 5])])
    monkeypatch.setattr(common, "_split_for", lambda *_: (Dataset("x", tuple("0123456789"), {}), "val", next(splits)))
    with pytest.raises(DataError, match=r"no image is the same, .* give --data"):
        common.see_common(["a", "b"], predictors, None, "test", HOW)
    with pytest.raises(ConfigError, match="takes 2 to 16 models, not 1"):
        moganet.compare([trained_run])


def test_labels_without_names_are_the_same_classes_for_models_in_any_order(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
    swapped = copy.deepcopy(network)
    with torch.no_grad():
        for part in (swapped[1].weight, swapped[1].bias):
            part.copy_(part[[2, 0, 1]])
    models = [
        moganet.model(one, names, {"size": 8})
        for one, names in ((network, ["a", "b", "c"]), (swapped, ["c", "a", "b"]))
    ]
    images = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    items = [(image, number % 3) for number, image in enumerate(images)]
    found = moganet.compare(models, items, out=tmp_path / "p.html", device="cpu", threads=1)
    first, second = found.models
    assert first.figure == second.figure == pytest.approx(moganet.evaluate(models[0], items).top1)
    assert not found.differing and found.num_images == 30


@pytest.mark.parametrize(
    ("right", "wrong", "both", "none"), [(0, 0, 5, 5), (1, 9, 50, 3), (40, 38, 900, 22), (0, 300, 1, 0)]
)
def test_the_pair_test_is_exact(right, wrong, both, none):
    counts = np.repeat([0, 1, 2, 3], [right, wrong, both, none])
    found = judge_pair(np.isin(counts, [0, 2]), np.isin(counts, [1, 2]))
    expected = binomtest(right, right + wrong).pvalue if right + wrong else 1.0
    assert (found.only_first, found.only_second) == (right, wrong) and found.p == pytest.approx(expected)
    assert found.interval[0] <= found.difference <= found.interval[1]


def test_holm_adjusts_as_published():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_models_have_names_that_tell_them_apart():
    assert name_apart(["runs/a/best", "runs/b/best"]) == ("a/best", "b/best")
    assert name_apart(["runs/x", "moganet_nano.digits"]) == ("x", "moganet_nano.digits")
    assert name_apart(["x", "x"]) == ("x (1)", "x (2)")
