"""Multi-label classification: its figures against scikit-learn's, its thresholds, losses, answers and page."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
import torch
from conftest import MINI, fill, real_data
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score
from torch.nn import functional as F
from torchmetrics.functional.classification import multilabel_average_precision

import moganet
from moganet.config import Architecture, OptimizerConfig, Preprocessing, ScheduleConfig
from moganet.data import open_data
from moganet.errors import ConfigError, DataError
from moganet.inference import ModelDescription, save_model_file
from moganet.models.build import build_network_for
from moganet.tasks import TASKS
from moganet.tasks.module import Learning
from moganet.tasks.multilabel.answers import Found, found, sigmoid
from moganet.tasks.multilabel.description import MultilabelDescription, MultilabelLoss, MultilabelSettings
from moganet.tasks.multilabel.evaluator import MultilabelEvaluator, measure
from moganet.tasks.multilabel.figures import (
    average_precision,
    best_threshold,
    calibration_error,
    cross_entropy,
    mean_average_precision,
)
from moganet.tasks.multilabel.reliability import fit_temperature
from moganet.tasks.multilabel.report import pairs_section
from moganet.tasks.multilabel.training import MultilabelTraining, balanced, build_criterion
from moganet.tasks.report import say_classes
from moganet.tasks.task import Asked

TASK = TASKS["multilabel"]
NAMES = ("cat", "dog", "ant")


def describe(names=NAMES, **options):
    return MultilabelDescription(class_names=names, **options)


def draw(number=400, classes=7, digits=None, seed=0):
    """Draw logits, with ties where they are rounded, and what images have."""
    random = np.random.RandomState(seed)
    truth = random.rand(number, classes) < random.uniform(0.02, 0.5, classes)
    logits = random.randn(number, classes) + 1.5 * truth - 1
    return (logits if digits is None else logits.round(digits)).astype(np.float32), truth


# Figures


@pytest.mark.parametrize("digits", [None, 1, 0, -1])
def test_average_precision_is_scikit_learns_and_torchmetrics_also_where_scores_are_equal(digits):
    logits, truth = draw(digits=digits)
    ours = [average_precision(scores, has) for scores, has in zip(logits.T, truth.T, strict=True)]
    assert ours == pytest.approx(average_precision_score(truth, logits, average=None), abs=1e-9)
    assert mean_average_precision(logits, truth) == pytest.approx(average_precision_score(truth, logits), abs=1e-9)
    theirs = multilabel_average_precision(torch.from_numpy(logits), torch.from_numpy(truth).long(), 7, average=None)
    assert ours == pytest.approx(theirs.tolist(), abs=1e-5)


def coco_table(folder):
    """Write the categories of COCO's images as a table."""
    root, rows = real_data("coco-mini"), []
    for split in ("train", "val"):
        plain = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
        names = {one["id"]: one["name"] for one in plain["categories"]}
        has = {image["id"]: set() for image in plain["images"]}
        for one in plain["annotations"]:
            has[one["image_id"]].add(names[one["category_id"]])
        rows += [
            (root / f"{split}2017" / image["file_name"], "|".join(sorted(has[image["id"]])), split)
            for image in plain["images"]
        ]
    with open(folder / "coco.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "tags", "split"), *rows])
    return f"table:{folder / 'coco.csv'}?labels=tags"


def test_a_real_sets_figures_are_scikit_learns(tmp_path):
    data = coco_table(tmp_path)
    val, names = open_data(data).split("val"), open_data(data).class_names
    architecture = Architecture(name="moganet_xtiny", **{**MINI, "num_classes": len(names)})
    network = build_network_for(architecture)
    network.load_state_dict(fill(network.state_dict()))
    description = describe(names, thresholds=tuple(np.linspace(0.3, 0.7, len(names))))
    own = ModelDescription(architecture=architecture, preprocessing=Preprocessing(size=(32, 32)), task=description)
    save_model_file(tmp_path / "m.safetensors", network.state_dict(), own)
    predictor = moganet.load(tmp_path / "m.safetensors")
    result = moganet.evaluate(predictor, data, "val", workers=0)
    logits = predictor.logits(predictor.preprocess([val[i].image for i in range(len(val))])).numpy()
    truth = val.targets.strata() > 0
    has = truth.any(0)
    assert result["map"] == pytest.approx(average_precision_score(truth[:, has], logits[:, has]), abs=1e-6)
    assert result["map_micro"] == pytest.approx(average_precision_score(truth, logits, average="micro"), abs=1e-6)
    for i, one in enumerate(result["per_class"]):
        said = sigmoid(logits[:, i]) >= one["threshold"]
        if not has[i]:
            assert (one["ap"], one["recall"], one["f1"], one["images"]) == (None, None, None, 0)
            continue
        assert one["ap"] == pytest.approx(average_precision_score(truth[:, i], logits[:, i]), abs=1e-6)
        assert one["recall"] == pytest.approx(recall_score(truth[:, i], said))
        assert one["f1"] == pytest.approx(f1_score(truth[:, i], said, zero_division=0))
        if said.any():
            assert one["precision"] == pytest.approx(precision_score(truth[:, i], said))
        else:
            assert one["precision"] is None


def test_figures_at_the_thresholds_are_scikit_learns():
    logits, truth = draw()
    description = describe(tuple("abcdefg"), thresholds=(0.2, 0.5, 0.3, 0.4, 0.6, 0.1, 0.5))
    result, said = measure(logits, truth, description), found(logits, description)
    assert result["f1"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert result["f1_micro"] == pytest.approx(f1_score(truth, said, average="micro"))
    assert result["exact_match"] == pytest.approx((truth == said).all(1).mean())
    expected = F.binary_cross_entropy_with_logits(torch.from_numpy(logits), torch.from_numpy(truth).float())
    assert result["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_where_nothing_can_be_measured_there_is_none():
    result = measure(np.zeros((3, 2), np.float32) - 9, np.zeros((3, 2), bool), describe(("a", "b")))
    assert result["map"] is result["map_micro"] is result["f1"] is result["f1_micro"] is None
    assert result["exact_match"] == 1 and all(one.ap is None and one.precision is None for one in result["per_class"])
    parts = {"data": "d", "split": "val", "num_images": 3, "images_per_second": 1.0, "seconds": 1.0, "unreadable": ()}
    rest = {"model": "m", "sha256": "", "runtime": "eager", "precision": "f32", "untrained": False}
    said = TASK.evaluation(**result, **parts, **rest)
    assert "-" in said.headline() and said.table().rows and list(said.lines()) and TASK.say(said.plain()) is None


def test_calibration_error_is_that_of_each_answer():
    truth = np.random.RandomState(0).rand(20_000, 2) < 0.3
    assert calibration_error(np.full(truth.shape, 0.3), truth) < 0.01
    assert calibration_error(np.full(truth.shape, 0.9), truth) == pytest.approx(0.6, abs=0.01)


def test_the_temperature_is_the_one_that_the_logits_were_drawn_with():
    random = np.random.RandomState(0)
    logits = random.randn(5000, 4)
    truth = random.rand(5000, 4) < sigmoid(logits)
    assert fit_temperature(3 * logits, truth) == pytest.approx(3, rel=0.05)
    assert fit_temperature(logits, logits > 0) is None  # the colder, the better
    assert cross_entropy(3 * logits, truth) > cross_entropy(logits, truth)


# Thresholds


def test_a_threshold_has_the_best_f1():
    logits, truth = draw(classes=3, digits=0)
    for scores, has in zip(logits.T, truth.T, strict=True):
        threshold = best_threshold(scores, has)
        ours = f1_score(has, sigmoid(scores) >= threshold)
        best = max(f1_score(has, scores >= cut) for cut in np.unique(scores))
        assert ours == pytest.approx(best) if has.sum() >= 10 else threshold == 0.5


def test_of_equal_thresholds_it_is_that_next_to_the_middle():
    scores, has = np.repeat([3.0, 2.0, -4.0], [10, 5, 30]), np.repeat([True, True, False], [10, 5, 30])
    assert best_threshold(scores, has) == pytest.approx(sigmoid(np.array(-1.0)))
    assert best_threshold(scores[5:], has[5:]) == best_threshold(scores, has)
    assert best_threshold(scores[6:], has[6:]) == 0.5  # of nine images nothing is chosen


@pytest.mark.parametrize("scores", [[0.0] * 20, [80.0] * 10 + [-80.0] * 10, [1e-7 * i for i in range(20)]])
def test_a_threshold_finds_something_whatever_the_scores_are(scores):
    scores = np.array(scores, np.float32)
    description = describe(("a",), thresholds=(best_threshold(scores, np.arange(20) < 10),))
    assert found(scores[:, None], description).any()


def test_thresholds_come_from_all_validation_batches_and_are_a_class_each():
    logits, truth = map(torch.from_numpy, draw())
    evaluator = MultilabelEvaluator(describe(tuple("abcdefg")), keeps=False)
    for part in range(0, 400, 64):
        evaluator.update({"logits": logits[part : part + 64]}, truth[part : part + 64].float())
    figures = evaluator.compute()
    assert figures["map"] == pytest.approx(average_precision_score(truth, logits), abs=1e-6)
    assert figures["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logits, truth.float()).item(), rel=1e-5)
    fitted = evaluator.fitted(evaluator.description)
    assert fitted.thresholds == tuple(best_threshold(logits[:, i].numpy(), truth[:, i].numpy()) for i in range(7))
    assert describe().cuts == (0.5,) * 3
    with pytest.raises(ValidationError, match="2 thresholds for 3 classes"):
        describe(thresholds=(0.5, 0.5))


# Training


def module_of(loss=None, **settings):
    learning = Learning(loss or MultilabelLoss(), OptimizerConfig(), ScheduleConfig())
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    return MultilabelTraining(network, describe(), learning, MultilabelSettings(**settings))


def test_losses_are_their_formulas():
    logits, rows = torch.randn(5, 3), (torch.rand(5, 3) < 0.4).float()
    weights = torch.tensor([1.0, 2.0, 5.0])
    plain = build_criterion(MultilabelLoss(), weights)(logits, rows)
    expected = -(weights * rows * F.logsigmoid(logits) + (1 - rows) * F.logsigmoid(-logits)).mean()
    assert plain.item() == pytest.approx(expected.item(), rel=1e-5)
    smoothed = build_criterion(MultilabelLoss(smoothing=0.2))(logits, rows)
    assert smoothed.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, 0.8 * rows + 0.1).item())
    asymmetric = MultilabelLoss(name="asymmetric", gamma_neg=0, gamma_pos=0, clip=0)
    same = F.binary_cross_entropy_with_logits(logits, rows)
    assert build_criterion(asymmetric)(logits, rows).item() == pytest.approx(same.item(), rel=1e-5)
    assert build_criterion(MultilabelLoss(name="asymmetric"))(logits, rows) < same


def test_balanced_weights_are_negatives_by_positives():
    assert balanced(torch.tensor([10, 50, 0, 100]), 100).tolist() == pytest.approx([9, 1, 100, 0.01])


def test_a_blend_has_shares_of_labels_or_all_of_them():
    outputs, rows = torch.randn(4, 3), torch.tensor([[0.3, 0.0, 1.0]]).expand(4, 3)
    assert module_of().loss_of(outputs, rows) == F.binary_cross_entropy_with_logits(outputs, rows)
    union = module_of(mix="union").loss_of(outputs, rows)
    assert union == F.binary_cross_entropy_with_logits(outputs, (rows > 0).float())


def test_a_teachers_divergence_is_of_each_class():
    module = module_of(MultilabelLoss(temperature=2.0))
    ours, theirs = torch.randn(6, 3, dtype=torch.double), torch.randn(6, 3, dtype=torch.double)
    p, q = (theirs / 2).sigmoid(), (ours / 2).sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert module.divergence(ours, theirs).item() == pytest.approx(expected.item())
    assert module.divergence(ours, ours).item() == pytest.approx(0, abs=1e-9)


def test_wrong_settings_are_said(tmp_path):
    from test_tasks import SMALL, make_data

    data = make_data("multilabel", tmp_path / "images")
    with pytest.raises(ConfigError, match=r"loss.pos_weights has 2 values, but .* has 3 classes"):
        moganet.train("multilabel", data, {**SMALL, "loss.pos_weights": [1, 2]}, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"task.mix"):
        moganet.train("multilabel", data, {**SMALL, "task.mix": "sum"}, tmp_path / "run")
    with pytest.raises(ConfigError, match="interactions"):
        moganet.train("multilabel", data, {**SMALL, "trainer.interactions_every": 1}, tmp_path / "run")
    with pytest.raises(DataError, match=r"one class an image.*labels=COLUMN"):
        moganet.train("multilabel", "digits", {}, tmp_path / "run")
    everything = {"augment.mixup": 0.5, "augment.cutmix": 1.0, "task.mix": "union", "loss.pos_weights": "balanced"}
    others = {"loss.name": "asymmetric", "loss.smoothing": 0.1, "data.balanced": True, "data.fraction": 0.8}
    moganet.train("multilabel", data, {**SMALL, **everything, **others, "trainer.max_epochs": 1}, tmp_path / "run")
    student = {**SMALL, "loss.teacher": str(tmp_path / "run"), "loss.temperature": 2, "trainer.max_epochs": 1}
    moganet.train("multilabel", data, student, tmp_path / "student")


# Answers


def ask(rows, top_k=None, *, calibrated=False, **options):
    return TASK.answers({"logits": np.array(rows, np.float32)}, describe(**options), Asked(top_k, calibrated))


def test_answers_are_the_classes_above_their_thresholds_or_the_likeliest():
    rows = [[1.0, 3.0, -1.0], [-5.0, -4.0, -3.0]]
    both, none = ask(rows)
    assert both.names == ("dog", "cat") and both.probabilities == pytest.approx([0.9526, 0.7311], abs=1e-4)
    assert none == Found((), (), ())
    strict = ask(rows, thresholds=(0.8, 0.5, 0.2))[0]
    assert strict.names == ("dog", "ant")
    every = ask(rows, 3)[1]
    assert every.names == ("ant", "dog", "cat") and every.above == () and len(ask(rows, 99)[0].names) == 3
    scaled = ask(rows, calibrated=True, temperature=3.0)[0]
    assert scaled.names == both.names and scaled.probabilities[0] == pytest.approx(1 / (1 + math.exp(-1)))


def test_rows_name_the_truth_and_an_image_without_classes_has_a_line():
    none = TASK.row("a.png", Found((), (), ()), (), trained=True)
    assert none.text() == "(none)" and list(none.cells()) == [("a.png", "", "", "", "", "")]
    assert none.plain() == {"file": "a.png", "truth": (), "classes": ()}
    row = TASK.row("a.png", Found(("cat",), (0.75,), ("cat",)), ("cat", "dog"), trained=False)
    assert row.text() == "cat 75.0 % (untrained)" and list(row.cells()) == [
        ("a.png", "cat|dog", 1, "cat", "0.750000", "")
    ]
    strange = TASK.row("a.png", Found(("cat",), (0.75,), ("cat",), rejected=True), None, trained=True)
    assert strange.plain()["rejected"] and "unlike" in strange.text() and next(iter(strange.cells()))[-1] == "yes"
    assert "truth" not in TASK.row("a.png", Found((), (), ()), None, trained=True)


def test_two_networks_are_the_same_by_the_share_of_classes_that_both_find():
    given = {"logits": np.array([[1, 1, -1], [-1, -1, -1], [1, -1, -1]], np.float32)}
    other = {"logits": np.array([[1, -1, -1], [-1, -1, -1], [-1, 1, -1]], np.float32)}
    assert TASK.same(given, other, describe()).tolist() == [0.5, 1, 0]


def test_logits_come_back_from_probabilities():
    logits = np.linspace(-30, 14, 50, dtype=np.float32).reshape(10, 5)
    again = TASK.logits_of(TASK.probabilities({"logits": logits}, describe()))
    assert again == pytest.approx(logits, abs=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sigmoid(np.array([-1e4, 1e4])).tolist() == [0, 1]


def test_pairs_are_counted_once_the_commonest_first():
    truth = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    section = pairs_section(NAMES, truth, np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]], bool))
    assert [tuple(row.values()) for row in section.content["rows"]] == [("cat", "dog", 2, 0.5), ("dog", "ant", 1, 1.0)]
    assert "“cat” and “dog” stand together most often: 2 images" in section.title
    assert pairs_section(NAMES, truth & False, truth).title == "No image has two classes"


def test_titles_say_the_finding():
    logits, truth = draw(classes=3)
    rows = sorted(measure(logits, truth, describe())["per_class"], key=lambda one: one.ap)
    how = ("ap", ("average precision", "images"))
    said = say_classes(rows, *how)
    assert f"“{rows[0].name}” is the hardest" in said and f"“{rows[-1].name}” the easiest" in said
    assert "only class" in say_classes(rows[:1], *how)
    empty = measure(logits, np.zeros_like(truth), describe())["per_class"]
    assert say_classes(empty, *how) == "No class has images"
