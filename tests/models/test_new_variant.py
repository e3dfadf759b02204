"""A new variant needs what CONTRIBUTING.md says, and a release's function is the release's choice."""

import pytest
import timm
import torch
from conftest import GOLDEN, MINI

import moganet
from moganet.network import VARIANTS, registry
from moganet.network.releases import RELEASES

NAME = "pico_of_a_test"  # timm's registry forgets nothing; other tests list what begins with "moganet"


def test_a_new_variant_is_an_entry(tmp_path, monkeypatch):
    shape = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "mlp_ratios": (4, 4, 4, 4)}
    monkeypatch.setitem(VARIANTS, NAME, shape)
    registry.register(NAME)  # as it is of each when timm is imported
    assert timm.create_model(NAME, num_classes=2).num_features == 32
    with pytest.warns(UserWarning, match="untrained"):
        predictor = moganet.load(NAME, num_classes=2)
    assert predictor.config.preprocessing.crop_fraction == 0.9 and len(predictor.class_names) == 2
    for name in VARIANTS.keys() - {NAME, "moganet_nano"}:  # the table of all takes seconds
        monkeypatch.delitem(VARIANTS, name)
    assert moganet.info(NAME)["parameters"] and len(moganet.info()["variants"]) == len(VARIANTS) == 2
    small = {"network": NAME, "trainer.max_epochs": 1, "trainer.max_steps": 2}
    moganet.train("digits", overrides=small, out=tmp_path / "run")
    assert moganet.verify(tmp_path / "run")["ok"]


def test_what_a_release_chose_was_not_asked_for(tmp_path, monkeypatch):
    name = "moganet_tiny.openmixup_in1k_256"
    monkeypatch.setattr("moganet.models.download.fetch", lambda name: GOLDEN / "mini_official.pth.tar")
    found = moganet.info(name)["file"]
    assert found["gate"] == RELEASES[name].gate == "double" and found["weights"] == "plain"
    assert found["reason"].count("as it was released") == 2 and "asked" not in found["reason"]
    asked = moganet.info(name, gate="single")["file"]
    assert asked["gate"] == "single" and "single gate (as asked)" in asked["reason"]
    moganet.convert(GOLDEN / "mini_official.pth.tar", tmp_path / "x.safetensors")
    monkeypatch.setattr("moganet.models.download.fetch", lambda name: tmp_path / "x.safetensors")
    described = moganet.info(name)["file"]  # somebody's own file, put where the download lies
    assert described["gate"] == "double" and "asked" not in described["reason"]
    assert torch.equal(moganet.load(name).model.head.bias, moganet.load(tmp_path / "x.safetensors").model.head.bias)
    assert MINI["num_classes"] == found["num_classes"]
