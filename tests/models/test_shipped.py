"""Models that ship: each is what its card says, is found by its name, and knows what it was not trained on."""

import pytest
import timm
import torch
from conftest import noise_image
from sklearn.datasets import load_sample_image

import moganet
from moganet.data import open_data
from moganet.errors import WeightsError
from moganet.models.shipped import shipped_models
from moganet.network.releases import SHIPPED as KNOWN

SHIPPED = shipped_models()


def test_they_are_listed_before_those_to_download():
    assert SHIPPED and moganet.list_models(pretrained=True)[: len(SHIPPED)] == list(SHIPPED)
    known = "moganet_nano.cifar10, moganet_nano.digits"
    what = r"no trained model 'moganet_nano.none'; (did you mean '[a-z0-9_.]+'[?] )?trained models"
    with pytest.raises(WeightsError, match=rf"{what}: {known}"):
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


@pytest.mark.parametrize("name", SHIPPED)
def test_timm_knows_each_by_its_name(name):
    predictor = moganet.load(name, "eager")
    own, known = predictor.config.preprocessing, predictor.config.architecture.model_dump()
    assert name in timm.list_models(pretrained=True) and name in timm.list_pretrained("moganet*")
    network = timm.create_model(name, pretrained=True).eval()
    x = noise_image(2, 32)[:, : own.channels]
    assert (network(x) - predictor.logits(x)).abs().max() < 1e-5
    cfg = timm.data.resolve_model_data_config(network)
    assert cfg["input_size"] == (own.channels, *own.size) and (cfg["mean"], cfg["std"]) == (own.mean, own.std)
    assert (cfg["crop_mode"], cfg["crop_pct"], cfg["interpolation"]) == ("squash", 1.0, "bilinear")
    assert own.crop_mode == "squash" and own.interpolation == "bilinear"
    blank = timm.create_model("moganet_nano").default_cfg  # the bare name stays the variant itself
    assert blank["num_classes"] == 1000 and "moganet_nano" not in timm.list_models(pretrained=True)
    assert KNOWN.keys() == SHIPPED.keys() and all(known[key] == value for key, value in KNOWN[name].options.items())


@pytest.mark.parametrize("name", SHIPPED)
def test_timm_fits_each_to_other_classes_channels_and_uses(name):
    plain = timm.create_model(name, pretrained=True).eval()
    channels = plain.in_chans
    x = noise_image(2, 32)[:, :channels]
    maps = timm.create_model(name, pretrained=True, features_only=True).eval()(x)
    assert (maps[-1] - plain.forward_features(x)).abs().max() < 1e-4 and len(maps) == 4
    other = timm.create_model(name, pretrained=True, num_classes=5, in_chans=4 - channels).eval()
    grey = noise_image(2, 32)[:, :1]
    assert other(grey.expand(-1, 4 - channels, -1, -1)).shape == (2, 5)
    given, expected = (net.forward_features(grey.expand(-1, net.in_chans, -1, -1)) for net in (other, plain))
    assert (given - expected).abs().max() < 1e-4  # of a grey image they see the same
    assert torch.equal(other.blocks4[0].attn.gate.weight, plain.blocks4[0].attn.gate.weight)


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
