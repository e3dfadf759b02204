"""One way to run any model: what goes in, what comes out."""

import numpy as np
import pytest
import torch
from conftest import GOLDEN, golden
from PIL import Image

import moganet
from moganet.errors import ConfigError, DataError, MogaNetError, WeightsError


@pytest.fixture(scope="module")
def untrained():
    with pytest.warns(UserWarning, match="untrained"):
        return moganet.load("moganet_nano")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("mini_official.pth.tar", "mini_single_gate_expected"),
        ("mini_openmixup.pth", "mini_double_gate_expected"),
        ("mini_paddle.pdparams", "mini_paddle_expected"),
    ],
)
def test_released_checkpoints_load_with_their_own_function(file, expected):
    predictor = moganet.load(GOLDEN / file)
    values = golden(expected)
    assert (predictor.logits(values["input"]) - values["logits"]).abs().max() < 1e-5
    assert predictor.trained and len(predictor.class_names) == 10
    assert predictor.config.provenance["reason"]


def test_images_of_every_kind_give_named_probabilities(untrained, tmp_path):
    array = np.random.RandomState(0).randint(0, 256, (40, 50, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.save(tmp_path / "x.png")
    results = untrained([image, array, tmp_path / "x.png", str(tmp_path / "x.png")], top_k=3)
    assert len(results) == 4 and all(r == results[0] for r in results)
    assert len(results[0].names) == 3
    assert results[0].probabilities == tuple(sorted(results[0].probabilities, reverse=True))
    for single in (image, array, tmp_path / "x.png"):
        assert len(untrained(single, top_k=1)) == 1
    assert len(untrained(np.stack([array, array]))) == 2


def test_preprocess_and_logits_have_the_documented_shapes(untrained):
    x = untrained.preprocess([Image.new("RGB", (300, 200)), Image.new("L", (30, 20))])
    assert x.shape == (2, 3, 224, 224) and x.dtype == torch.float32
    for height, width in ((32, 32), (33, 65)):
        logits = untrained.logits(torch.zeros(2, 3, height, width))
        assert logits.shape == (2, 1000) and logits.dtype == torch.float32
    probabilities = untrained.probabilities(logits)
    assert torch.allclose(probabilities.sum(1), torch.ones(2))


def test_all_classes_are_named_and_sum_to_one(untrained):
    result = untrained(Image.new("RGB", (30, 30)), top_k=5000)[0]
    assert len(result.names) == 1000 and sum(result.probabilities) == pytest.approx(1)
    assert any("tench" in name for name in result.names)


def test_an_untrained_network_is_the_same_each_time_and_leaves_the_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="untrained"):
        first, second = moganet.load("nano"), moganet.load("moganet_nano")
    assert torch.equal(torch.rand(1), expected)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(first.logits(x), second.logits(x)) and not first.trained


def test_bf16_is_close_and_the_module_stays_plain(untrained):
    with pytest.warns(UserWarning):
        half = moganet.load("moganet_nano", precision="bf16")
    x = torch.randn(2, 3, 32, 32)
    full = untrained.logits(x)
    assert (half.logits(x) - full).abs().max() < 0.1 * full.std() + 0.05
    assert isinstance(half.model, moganet.MogaNet) and next(half.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("what", "options", "error", "said"),
    [
        ("moganet_nano.cifar1000", {}, WeightsError, "no trained model"),
        ("resnet50", {}, WeightsError, "moganet_xtiny"),
        ("/no/such/file.safetensors", {}, WeightsError, "no model"),
        (".", {}, WeightsError, "no finished run"),
        ("moganet_nano", {"runtime": "tpu"}, ConfigError, "auto, eager"),
        ("moganet_nano", {"precision": "f8"}, ConfigError, "f32, bf16, f16"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*untrained")
def test_what_can_not_be_loaded_says_what_can(what, options, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said) as caught:
        moganet.load(what, **options)
    assert isinstance(caught.value, MogaNetError) and "\n" not in str(caught.value)


def test_an_unreadable_image_is_an_error_of_its_own(untrained, tmp_path):
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"x\.jpg"):
        untrained(tmp_path / "x.jpg")


def test_names_of_models_are_listed():
    assert "moganet_xlarge" in moganet.list_models()
    assert "moganet_small.in1k" in moganet.list_models(pretrained=True)
