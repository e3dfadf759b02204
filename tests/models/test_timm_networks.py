"""timm:NAME is a MODEL like any other: it is loaded, kept, converted, described, fine-tuned, and learned from."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.errors import ConfigError, WeightsError
from moganet.models.build import build_network_for
from moganet.notices import listening

NAME = "timm:test_resnet"
SAID = {"preprocessing": Preprocessing(size=32, mean=(0.5,) * 3, std=(0.25,) * 3).model_dump_json()}


@pytest.fixture(autouse=True)
def _without_the_hub(monkeypatch):
    monkeypatch.setattr("moganet.models.open.unreachable", lambda url: "no connection")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=10).eval()


@pytest.fixture
def model(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "plain.safetensors", SAID)
    return f"{NAME}@{tmp_path / 'plain.safetensors'}"


def test_without_weights_it_is_untrained_and_says_so():
    with listening() as heard, pytest.warns(UserWarning, match="is untrained"):
        predictor = moganet.load(NAME, num_classes=3, in_chans=1)
    assert not predictor.trained and predictor.class_names == ("class_0", "class_1", "class_2")
    assert any("can't be had" in line and "no connection" in line for line in heard)
    assert predictor.logits(np.zeros((2, 1, 32, 32), np.float32)).shape == (2, 3)
    with pytest.raises(WeightsError, match="no trained weights"):
        moganet.verify(NAME)


@pytest.mark.parametrize("key", [(), ("state_dict",), ("model",)])
def test_a_files_tensors_are_its_own(key, network, tmp_path):
    content = network.state_dict()
    for name in key:
        content = {name: content}
    torch.save(content, tmp_path / "x.pth")
    with listening() as heard:
        predictor = moganet.load(f"{NAME}@{tmp_path / 'x.pth'}")
    assert any("x.pth does not say how images are prepared" in line for line in heard)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert np.allclose(np.asarray(predictor.logits(x)), network(x).numpy(), atol=1e-5)


@pytest.mark.parametrize(("out", "back"), [("x.safetensors", "x.safetensors"), ("hub", "hub")])
def test_it_is_kept_in_our_file_and_a_hub_folder(out, back, model, network, tmp_path):
    moganet.convert(model, tmp_path / out)
    assert moganet.verify(tmp_path / back)["ok"]
    again = moganet.load(tmp_path / back)
    assert again.config.architecture == Architecture(name=NAME, num_classes=10, in_chans=3)
    assert again.config.preprocessing == moganet.load(model).config.preprocessing
    described = moganet.info(tmp_path / back)
    assert described["name"] == NAME and described["layers"] and described["stages"] and "gate" not in described["file"]
    assert described["parameters"] == sum(p.numel() for p in network.parameters())
    of_file = f"{NAME}@{tmp_path / back}" if out != "hub" else tmp_path / back
    fewer = moganet.load(of_file, num_classes=4, in_chans=1)
    assert np.asarray(fewer.logits(torch.zeros(1, 1, 32, 32))).shape == (1, 4)
    if out == "hub":
        assert json.loads((tmp_path / "hub" / "config.json").read_text())["architecture"] == "test_resnet"
        theirs, x = (
            timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval(),
            torch.randn(1, 3, 32, 32),
        )
        assert torch.allclose(theirs(x), network(x), atol=1e-5)


@pytest.mark.parametrize(("metadata", "said"), [({"preprocessing": "{"}, "no preprocessing"), (SAID, "1 channels")])
def test_a_file_that_contradicts_itself_is_said(metadata, said, tmp_path):
    save_file(timm.create_model("test_resnet", in_chans=1).state_dict(), tmp_path / "x.safetensors", metadata)
    with pytest.raises(WeightsError, match=said):
        moganet.load(f"{NAME}@{tmp_path / 'x.safetensors'}")


def test_its_card_is_no_moganets(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    moganet.push(model, "somebody/resnet", tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "test_resnet" in card and "A MogaNet" not in card and "gate" not in card


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        (NAME, {"gate": "double"}, "no MogaNet and has no gate"),
        ("timm:no_such", {}, "no_such"),
        ("timm:local-dir:/tmp", {}, "names no network of timm"),
        ("timm:hf-hub:a/b", {}, "names no network of timm"),
    ],
)
def test_what_it_can_not_be_is_said(name, changed, said):
    with pytest.raises(ConfigError, match=said):
        build_network_for(Architecture(name=name, **changed))


def test_it_is_no_file_of_the_others(model, tmp_path):
    with pytest.raises(ConfigError, match="no MogaNet"):
        moganet.convert(model, tmp_path / "x.pth")
    moganet.convert(model, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="is of timm:test_resnet, not of timm:test_vit"):
        moganet.load(f"timm:test_vit@{tmp_path / 'x.safetensors'}")
    with pytest.raises(ConfigError, match="one kind of weights"):
        moganet.load(model, weights="ema")


def test_one_is_trained_kept_and_evaluated(tmp_path):
    for i in range(16):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
    small = {"preprocessing.size": 32, "data.batch_size": 4, "data.workers": 0, "trainer.max_epochs": 1}
    settings = {"network": NAME, "start.freeze": 1, "trainer.ema": None, **small}
    result = moganet.train("finetune", data=str(tmp_path / "photos"), overrides=settings, out=tmp_path / "run")
    assert any("random weights: there are none of timm:test_resnet" in note for note in result["notes"])
    assert moganet.verify(tmp_path / "run")["ok"] and moganet.load(tmp_path / "run" / "last.ckpt").class_names == (
        "a",
        "b",
    )
    assert moganet.evaluate(tmp_path / "run")["num_images"] > 0
    taught = {"loss.teacher": f"{NAME}@{tmp_path / 'run' / 'best.safetensors'}", "start": "none", **small}
    taught |= {"network.depths": [1, 1, 1, 1], "network.embed_dims": [8, 8, 16, 16]}
    moganet.train("finetune", data=str(tmp_path / "photos"), overrides=taught, out=tmp_path / "taught")
    again = {"start": str(tmp_path / "run"), **small}
    moganet.train("finetune", data=str(tmp_path / "photos"), overrides=again, out=tmp_path / "again")
    assert moganet.load(tmp_path / "again").config.architecture.name == NAME


def test_methods_are_compared_that_explain_it(model):
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    found = moganet.explain(model, image, compare=True, samples=20, window=16, steps=2, copies=2)["images"]
    assert [one["method"] for one in found] == ["lime", "occlusion", "integrated-gradients", "saliency", "gradcam"]
    with pytest.raises(ConfigError, match="orders shows the branches of a MogaNet"):
        moganet.explain(model, image, "orders")
