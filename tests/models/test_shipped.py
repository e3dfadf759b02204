"""Models that ship: each is what its card says, is found by its name, and knows what it was not trained on."""

import pytest
import torch
from conftest import noise_image
from sklearn.datasets import load_sample_image

import moganet
from moganet.data import open_data
from moganet.errors import WeightsError
from moganet.models.shipped import shipped_models

SHIPPED = shipped_models()


def test_they_are_listed_before_those_to_download():
    assert SHIPPED and moganet.list_models(pretrained=True)[: len(SHIPPED)] == list(SHIPPED)
    known = "moganet_nano.cifar10, moganet_nano.digits"
    with pytest.raises(WeightsError, match=rf"no trained model 'moganet_nano.none'; trained models: {known}"):
        moganet.load("moganet_nano.none")


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_small_whole_and_has_a_card(name):
    path = SHIPPED[name]
    assert path.stat().st_size < 3_000_000 and moganet.verify(name)["ok"]
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    measured = moganet.load(name).config.provenance["measured"]
    assert f"top-1 {100 * measured['top1']:.2f} %" in card
    for part in ("Data", "Command", "Network", "Time", "Test set", "Reject score", "Limits", "| epoch |"):
        assert part in card
    assert "/" not in str(moganet.load(name).config.provenance["data"])


@pytest.mark.parametrize("name", SHIPPED)
def test_each_is_found_by_its_short_name(name):
    predictor = moganet.load(name.removeprefix("moganet_"))
    x = noise_image(4, max(predictor.config.preprocessing.size))[:, : predictor.config.preprocessing.channels]
    assert torch.equal(predictor.logits(x), moganet.load(SHIPPED[name]).logits(x))


def test_photographs_are_no_digits():
    photograph = load_sample_image("china.jpg")
    crops = [photograph[y : y + 100, x : x + 100] for y in range(0, 400, 100) for x in range(0, 600, 100)]
    predictor = moganet.load("moganet_nano.digits")
    assert predictor.rejected(predictor.logits(predictor.preprocess(crops))).float().mean() > 0.5
    held = open_data("digits").split("test")
    logits = predictor.logits(predictor.preprocess([held[i].image for i in range(len(held))]))
    assert predictor.rejected(logits).float().mean() < 0.1


def test_photographs_of_animals_and_vehicles_have_names_at_once():
    predictor = moganet.load("moganet_nano.cifar10")
    assert predictor.class_names[::3] == ("airplane", "cat", "frog", "truck")
    (prediction,) = predictor([load_sample_image("flower.jpg")], top_k=3)
    assert len(prediction.names) == 3 and 0.3 < sum(prediction.probabilities) <= 1


def test_the_digits_are_recognised_by_a_tiny_file():
    assert SHIPPED["moganet_nano.digits"].stat().st_size < 300_000
    result = moganet.evaluate("moganet_nano.digits")
    assert result["top1"] == pytest.approx(moganet.load("moganet_nano.digits").config.provenance["measured"]["top1"])
