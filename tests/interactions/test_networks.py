"""The command's side: rendering, models of every kind, results that are kept, budgets, and mistakes."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import moganet
import moganet_cli
from moganet.config import Preprocessing
from moganet.engine.interactions import _preprocessing
from moganet.errors import ConfigError, DataError, InteractionError, WeightsError
from moganet.inference import measurement
from moganet.inference.interaction_images import classes_in_turn, identify
from moganet.inference.masking import MaskedImage, baseline_of, render

SMALL = {"images": 6, "pairs": 2, "contexts": 2, "grid": 4, "filter": "all", "batch_size": 64}


@pytest.mark.parametrize(("height", "width", "grid"), [(8, 8, 4), (7, 10, 3), (5, 5, 5), (9, 6, 2)])
def test_masks_are_enlarged_by_the_nearest_neighbour(height, width, grid):
    image, absent = torch.randn(3, height, width), torch.randn(3, height, width)
    masks = torch.rand(6, grid * grid) < 0.5
    whole = torch.nn.functional.interpolate(masks.view(-1, 1, grid, grid).float(), (height, width), mode="nearest")
    expected = image * whole + absent * (1 - whole)
    assert torch.equal(render(image, absent, masks, grid), expected)


def test_baselines():
    image = torch.randn(3, 32, 32)
    assert not baseline_of("zero", image, torch.ones(3)).any()
    assert baseline_of("mean", image, torch.tensor([1.0, 2, 3]))[2].unique().tolist() == [3.0]
    blurred = baseline_of("blur", image, torch.ones(3))
    assert blurred.shape == image.shape and blurred.std() < 0.5 * image.std()
    with pytest.raises(ConfigError, match="zero, mean, blur"):
        baseline_of("black", image, torch.ones(3))


def test_a_masked_image_gives_log_odds_of_the_true_class():
    weights = torch.randn(12, 3)
    image = torch.randn(3, 2, 2)
    value = MaskedImage(lambda x: x.flatten(1) @ weights, image, torch.zeros(3, 2, 2), 1, "log-odds", 2)
    logits = ((image * torch.tensor([[1, 0], [0, 1]])).flatten() @ weights).double()
    p = logits.softmax(0)[1]
    assert value(np.array([[True, False, False, True]]))[0] == pytest.approx(float(torch.log(p / (1 - p))), rel=1e-5)


def test_classes_come_in_turn_and_images_are_known_by_their_pixels():
    labels = np.array([0] * 5 + [1] * 3 + [2])
    order = classes_in_turn(labels, 3)
    assert sorted(order) == list(range(9)) and sorted(labels[order[:3]]) == [0, 1, 2]
    image = torch.zeros(3, 2, 4, dtype=torch.uint8)
    assert identify(image) == identify(image.clone()) != identify(image.view(3, 4, 2))


def test_two_networks_on_the_same_images_and_a_stopped_run_goes_on(trained_run, tmp_path):
    checkpoint = tmp_path / "plain.safetensors"
    network = timm.create_model("test_resnet", num_classes=10)
    described = moganet.load(trained_run).config.preprocessing.changed(
        channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, size=(32, 32)
    )
    save_file(network.state_dict(), checkpoint, {"preprocessing": described.model_dump_json()})
    models = [trained_run, f"timm:test_resnet@{checkpoint}"]
    out = tmp_path / "kept"

    def stop(done, total):
        if sum(1 for _ in out.rglob("*.npz")) >= 5:
            raise KeyboardInterrupt

    whole = moganet.interaction_curves(models, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        moganet.interaction_curves(models, **SMALL, out=out, watch=stop)
    assert sum(1 for _ in out.rglob("*.npz")) == 5
    next(out.rglob("*.npz")).write_bytes(b"cut")  # as a full disk may leave it
    resumed = moganet.interaction_curves(models, **SMALL, out=out)
    for one, other in zip(whole["models"], resumed["models"], strict=True):
        assert one["curve"] == other["curve"] and one["middle_band"] == other["middle_band"]
    assert whole["image_ids"] == resumed["image_ids"] and len(whole["image_ids"]) == 6
    assert [one["untrained"] for one in whole["models"]] == [False, False]
    with open(out / "interactions.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2 * 13
    assert json.loads((out / "interactions.json").read_text())["models"][0]["curve"] == resumed["models"][0]["curve"]
    assert (out / "interactions.png").stat().st_size > 5000
    with pytest.raises(ConfigError, match="pairs is 2 there and 3 here"):
        moganet.interaction_curves(models, **{**SMALL, "pairs": 3}, out=out)
    fewer = moganet.interaction_curves(trained_run, **{**SMALL, "images": 4}, out=out)
    assert fewer["image_ids"] == whole["image_ids"][:4] and not fewer["comparisons"]


def test_a_file_that_describes_no_preprocessing_is_given_images_as_the_first_model_of_ours(tmp_path):
    like, network = Preprocessing(size=40), timm.create_model("test_resnet", num_classes=10)
    save_file(network.state_dict(), tmp_path / "bare.safetensors")
    save_file(network.state_dict(), tmp_path / "said.safetensors", {"preprocessing": '{"size": 48}'})
    bare, said = (moganet.load(f"timm:test_resnet@{tmp_path / name}.safetensors") for name in ("bare", "said"))
    assert _preprocessing(bare, like, 10) == like and _preprocessing(said, like, 10).size == (48, 48)
    assert _preprocessing(bare, None, 10) == bare.config.preprocessing == _preprocessing(bare, like, 1000)
    grey = Preprocessing(channels=1, mean=0.5, std=0.5)
    assert _preprocessing(bare, grey, 10) == bare.config.preprocessing


def test_an_untrained_network_is_warned_about(trained_run):
    with pytest.warns(UserWarning, match="untrained"):
        found = moganet.interaction_curves("timm:test_resnet", "digits", **{**SMALL, "images": 1})
    assert found["models"][0]["untrained"]
    with pytest.warns(UserWarning, match="untrained"):
        found = moganet.interaction_curves("moganet_nano", "digits", size=16, **{**SMALL, "images": 1})
    assert found["models"][0]["size"] == [16, 16]


def test_an_exported_file_gives_the_same_curve(trained_run, tmp_path):
    pytest.importorskip("openvino")
    moganet.export(trained_run, to="openvino", out=tmp_path / "x.xml")
    plain, exported = moganet.interaction_curves([trained_run, tmp_path / "x.xml"], "digits", **{**SMALL, "images": 2})[
        "models"
    ]
    assert [row["J"] for row in exported["curve"]] == pytest.approx([row["J"] for row in plain["curve"]], abs=1e-3)


def test_a_budget_chooses_and_is_kept(trained_run, monkeypatch):
    rate, clock = 6000.0, [0.0]  # masks a second, and a clock that goes by masks: the machine may do other things

    class Counted(MaskedImage):
        def __call__(self, masks):
            clock[0] += len(masks) / rate
            return super().__call__(masks)

    monkeypatch.setattr(measurement, "MaskedImage", Counted)
    monkeypatch.setattr(measurement, "best_batch", lambda *_: (64, rate))
    monkeypatch.setattr(measurement, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    found = moganet.interaction_curves(trained_run, "digits", grid=4, budget=3.0, baseline="mean")
    assert found["plan"]["error"] > 0 and found["images"] <= found["plan"]["images"]
    assert 1 < sum(one["seconds"] for one in found["models"]) < clock[0] <= 3


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"pairs": 10_000}, InteractionError, "ask for 1 to"),
        ({"pairs": 0}, ConfigError, "at least 1"),
        ({"grid": 0}, ConfigError, "at least 1"),
        ({"grid": 1}, InteractionError, "at least 2 players"),
        ({"grid": 64}, ConfigError, "finer than"),
        ({"reward": "p"}, ConfigError, "log-odds"),
        ({"filter": "wrong"}, ConfigError, "correct, all"),
        ({"budget": -1.0}, ConfigError, "give more"),
        ({"budget": 0.01}, InteractionError, "give more time"),
        ({"split": "night"}, DataError, "night"),
        ({"models": []}, ConfigError, "at least one"),
        ({"models": ["timm:no_such_network"]}, ConfigError, "no_such_network"),
        ({"models": ["timm:test_vit@/no/such.safetensors"]}, WeightsError, "no file"),
        ({"models": ["/no/such/model"]}, WeightsError, "there is no model"),
    ],
)
def test_mistakes_are_said(trained_run, options, error, said):
    with pytest.raises(error, match=said):
        moganet.interaction_curves(options.pop("models", trained_run), "digits", **{**SMALL, **options})


def test_the_command_prints_one_object_or_a_table(trained_run, capsys, tmp_path):
    command = ["interactions", str(trained_run), "--data", "digits", "--grid", "4", "--images", "2", "--pairs", "2"]
    command += ["--contexts", "2", "--filter", "all", "--batch-size", "32"]
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*command, "--json"])
    assert not end.value.code and len(json.loads(capsys.readouterr().out)["models"][0]["curve"]) == 13
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*command, "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert not end.value.code and "middle orders" in shown and "interactions.png" in shown
    with pytest.raises(SystemExit) as end:
        moganet_cli.main([*command, "--budget", "soon"])
    assert end.value.code == 2 and "10m" in capsys.readouterr().err


def test_a_run_records_its_curve_and_is_not_changed_by_it(tmp_path):
    small = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "trainer.max_epochs": 1}
    small["data.fraction"] = 0.2
    moganet.train("digits", overrides=small, out=tmp_path / "plain")
    moganet.train("digits", overrides={**small, "trainer.interactions_every": 1}, out=tmp_path / "recorded")
    with open(tmp_path / "recorded" / "interactions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 and {row["epoch"] for row in rows} == {"1"} and float(rows[0]["J"]) > 0
    first, second = (moganet.load(tmp_path / name).model.state_dict() for name in ("plain", "recorded"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "plain" / "interactions.csv").exists()
