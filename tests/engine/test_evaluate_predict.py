"""Measuring and using a trained model."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support
from test_sources import make_folder

import moganet
from moganet.data import ArraySplit
from moganet.errors import DataError, OutputError
from moganet.inference.own_data import match_classes, say_absent
from moganet.notices import listening
from moganet.numbers import wilson_interval
from moganet.tasks.classify.evaluator import measure


def test_evaluation_agrees_with_scikit_learn(trained_run):
    result = moganet.evaluate(trained_run)
    test = moganet.open_data("digits").split("test")
    predictor = moganet.load(trained_run)
    logits = predictor.logits(predictor.preprocess([sample.image for sample in test]))
    predicted, labels = logits.argmax(1), test.labels
    assert result["top1"] == pytest.approx((predicted == labels).float().mean().item())
    assert result["top5"] >= result["top1"] and result["num_images"] == 360
    assert result["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    columns = precision_recall_fscore_support(labels, predicted, labels=range(10), zero_division=0)
    for row, precision, recall, f1, number in zip(result["per_class"], *columns, strict=True):
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((precision, recall, f1))
        assert row["num_images"] == number
    low, high = result["interval"]
    assert low < result["top1"] < high and 0 <= result["ece"] <= 1 and result["images_per_second"] > 0
    assert np.array(result["confusion"]).sum() == 360


def test_evaluation_writes_json_and_picture_into_the_runs_folder(trained_run):
    result = moganet.evaluate(trained_run)
    folder = trained_run / "evaluation-test"
    written = json.loads((folder / "evaluation.json").read_text())
    assert written["top1"] == result["top1"]
    with Image.open(folder / "confusion.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize(("split", "number"), [("train", 1293), ("val", 144), ("test", 360), ("all", 1797)])
def test_splits_are_those_of_the_run(trained_run, split, number, tmp_path):
    assert moganet.evaluate(trained_run, split=split, out=tmp_path)["num_images"] == number


def test_held_back_images_are_the_same_as_in_training(trained_run):
    best = moganet.load(trained_run).config.provenance["validation"]
    measured = moganet.evaluate(trained_run, split="val")
    assert measured["top1"] == pytest.approx(best["top1"]) and measured["loss"] == pytest.approx(best["loss"], rel=1e-4)


def test_classes_are_matched_by_name_and_unknown_ones_refused(trained_run, tmp_path):
    for name in ("7", "3"):
        (tmp_path / "x" / name).mkdir(parents=True)
    test = moganet.open_data("digits").split("test")
    for index, (image, label, _) in enumerate(test):
        if label in (3, 7):
            Image.fromarray(image[0].numpy()).save(tmp_path / "x" / str(label) / f"{index}.png")
    result = moganet.evaluate(trained_run, data=f"folder:{tmp_path / 'x'}")
    whole = moganet.evaluate(trained_run)
    for digit in (3, 7):
        assert result["per_class"][digit]["recall"] == pytest.approx(whole["per_class"][digit]["recall"])
    with pytest.raises(DataError, match="blue"):
        moganet.evaluate(trained_run, data=str(make_folder(tmp_path / "y")))


def test_an_evaluation_without_data_says_what_to_give(tmp_path):
    with pytest.warns(UserWarning, match="untrained"), pytest.raises(DataError, match="--data"):
        moganet.evaluate("moganet_nano")


@pytest.mark.parametrize(
    ("share", "number", "low", "high"), [(0.5, 10, 0.2366, 0.7634), (1.0, 10, 0.7225, 1.0), (0.0, 5, 0.0, 0.4345)]
)
def test_wilsons_interval(share, number, low, high):
    assert wilson_interval(share, number) == pytest.approx((low, high), abs=1e-4)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos" / "3"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.full((9, 9), 40 * i, np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_text("no image")
    return tmp_path / "photos"


def test_folders_globs_files_and_stdin_name_the_same_images(trained_run, photos, monkeypatch):
    import io

    expected = [str(photos / "3" / f"{i}.png") for i in range(3)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(expected) + "\n\n"))
    for files in ([photos], [f"{photos}/*/*.png"], expected, ["-"], [*expected, *expected]):
        result = moganet.predict(trained_run, files)
        assert [item["file"] for item in result["predictions"]] == expected
        assert all(item["truth"] == "3" for item in result["predictions"])
        assert sum(c["probability"] for c in result["predictions"][0]["classes"]) <= 1.0001


def test_unreadable_files_are_listed_and_stop_nothing(trained_run, photos):
    result = moganet.predict(trained_run, [photos, "/no/such.png", f"{photos}/*.gif"])
    assert len(result["predictions"]) == 3
    assert [item["file"] for item in result["unreadable"]] == [
        "/no/such.png",
        f"{photos}/*.gif",
        str(photos / "3" / "broken.jpg"),
    ]
    assert all(item["reason"] for item in result["unreadable"])


def test_a_data_set_can_be_predicted_drawn_and_tabled(trained_run, tmp_path):
    result = moganet.predict(
        trained_run, data="digits", top_k=2, limit=20, grid=tmp_path / "g.png", csv_file=tmp_path / "p.csv"
    )
    assert len(result["predictions"]) == 20 and {len(p["classes"]) for p in result["predictions"]} == {2}
    with Image.open(tmp_path / "g.png") as image:
        assert image.width > 400
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and rows[0]["name"] == result["predictions"][0]["classes"][0]["name"]


def test_predictions_agree_with_the_evaluation(trained_run):
    result = moganet.predict(trained_run, data="digits", top_k=1)
    right = [p["classes"][0]["name"] == p["truth"] for p in result["predictions"]]
    assert sum(right) / len(right) == pytest.approx(moganet.evaluate(trained_run)["top1"])


def test_untrained_predictions_say_so(photos):
    with pytest.warns(UserWarning, match="untrained"):
        result = moganet.predict("moganet_nano", [photos])
    assert all(item["untrained"] for item in result["predictions"])


def test_a_set_is_divided_for_prediction_as_in_training(trained_run):
    numbers = {
        split: len(moganet.predict(trained_run, data="digits", split=split)["predictions"])
        for split in ("val", "train", "all")
    }
    assert numbers == {"val": 144, "train": 1293, "all": 1797}


def test_an_odd_name_or_a_pattern_of_folders_stops_nothing(trained_run, photos):
    result = moganet.predict(trained_run, ["x" * 5000, f"{photos}/*"])
    assert len(result["predictions"]) == 3 and result["unreadable"][0]["file"] == "x" * 5000


def test_a_picture_without_a_pictures_name_is_refused_at_once(trained_run, photos, tmp_path):
    for name in ("grid", "grid.xyz"):
        with pytest.raises(OutputError, match=r"name it \.png"):
            moganet.predict(trained_run, [photos], grid=tmp_path / name)


def test_results_that_can_not_be_written_are_said(trained_run, photos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write"):
        moganet.predict(trained_run, [photos], csv_file=tmp_path / "file" / "p.csv")


def test_another_sets_evaluation_does_not_replace_the_home_sets(trained_run, tmp_path):
    home = moganet.evaluate(trained_run)
    for digit in "37":
        (tmp_path / "other" / digit).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "other" / digit / "x.png")
    other = moganet.evaluate(trained_run, data=str(tmp_path / "other"))
    assert other["num_images"] == 2 and other["out"] != home["out"]
    assert json.loads((trained_run / "evaluation-test" / "evaluation.json").read_text())["num_images"] == 360
    assert home["model"] == str(trained_run) and len(home["sha256"]) == 64


def test_a_set_without_a_readable_image_is_said(trained_run, tmp_path):
    (tmp_path / "x" / "3").mkdir(parents=True)
    (tmp_path / "x" / "3" / "a.png").write_text("no image")
    with pytest.raises(DataError, match="can be read"):
        moganet.evaluate(trained_run, data=str(tmp_path / "x"))


@pytest.mark.parametrize(("files", "data", "said"), [([], None, "nothing to predict"), (["x"], "digits", "not both")])
def test_what_is_not_predicted_is_said(trained_run, files, data, said):
    with pytest.raises(DataError, match=said):
        moganet.predict(trained_run, files, data)


def test_a_class_without_images_has_no_figures():
    logits = torch.eye(7)[torch.tensor([0, 0, 1, 2, 6])]
    found = measure(logits, torch.tensor([0, 0, 1, 1, 1]), tuple("abcdefg"))
    rows = {row["name"]: row for row in found["per_class"]}
    assert rows["a"] == {"name": "a", "precision": 1, "recall": 1, "f1": 1, "num_images": 2}
    assert rows["b"]["recall"] == pytest.approx(1 / 3) and rows["b"]["num_images"] == 3
    for name in "cdefg":  # c and g are predicted, of images that are not theirs
        assert rows[name] == {"name": name, "precision": None, "recall": None, "f1": None, "num_images": 0}
    never = measure(torch.eye(2)[[0, 0]], torch.tensor([0, 1]), ("a", "b"))["per_class"][1]
    assert never == {"name": "b", "precision": None, "recall": 0, "f1": 0, "num_images": 1}
    split = ArraySplit(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 1, 1, 1]))
    with listening() as heard:
        say_absent(split, tuple("abcdefg"), "val")
    assert len(heard) == 1 and "5 of 7 classes have no images in val" in heard[0]


@pytest.mark.parametrize("number", [1, 50, 5000])
def test_chance_alone_gives_a_calibration_error(number):
    generator = torch.Generator().manual_seed(0)
    sure = 0.5 + 0.5 * torch.rand(number, generator=generator)
    logits = torch.stack([sure.log(), (1 - sure).log()], 1)
    labels = (torch.rand(number, generator=generator) > sure).long()
    found = measure(logits, labels, ("a", "b"))
    assert found["ece"] == pytest.approx(found["ece_by_chance"], abs=0.5 if number == 1 else 0.06)
    assert found["ece_by_chance"] < {1: 0.6, 50: 0.3, 5000: 0.03}[number]


def test_a_runs_folder_that_can_not_be_written_costs_no_figures(trained_run, monkeypatch, tmp_path, capsys):
    import moganet_cli

    def refuse(*_):
        raise OutputError("can't write x: Permission denied; choose another place or make room")

    monkeypatch.setattr("moganet.engine.evaluate.write_text", refuse)
    with pytest.raises(SystemExit) as end:
        moganet_cli.main(["evaluate", str(trained_run), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert end.value.code == 3 and result["top1"] > 0 and "--out" in result["notes"][-1] and "out" not in result
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):  # before anything is measured
        moganet.evaluate("/no/such/model", out=tmp_path / "file")


@pytest.mark.parametrize(("given", "said"), [("A ", "'A ' looks like 'a'; rename it"), ("zebra", "knows a, b$")])
def test_an_unknown_class_is_shown_with_the_one_that_it_looks_like(given, said):
    with pytest.raises(DataError, match=said):
        match_classes((given, "b"), ("a", "b"))
