"""docs/elsewhere.md as it stands: a MogaNet in timm, segmentation_models.pytorch, transformers and torchvision."""

import re
from pathlib import Path

import pytest
import torch

from moganet import MogaNet

PAGE = Path(__file__).parents[2] / "docs" / "elsewhere.md"
# The smallest network and few queries; a larger one learns nothing else.
SMALL = {
    "moganet_tiny": "moganet_nano",
    '"num_labels": 80,': '"num_labels": 80, "decoder_layers": 2, "num_queries": 5, "num_denoising": 0, "d_model": 32, '
    '"encoder_hidden_dim": 32, "decoder_in_channels": [32] * 3, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, ',
}


@pytest.fixture(scope="module")
def made():
    """Run the page's blocks in their order; give what they made."""
    pytest.importorskip("segmentation_models_pytorch")
    pytest.importorskip("transformers")
    text = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    for usual, small in SMALL.items():
        assert usual in text
        text = text.replace(usual, small)
    torch.manual_seed(0)
    names = {"__name__": "elsewhere"}
    exec(compile(text, str(PAGE), "exec"), names)
    return names


def test_maps_have_the_strides_that_were_asked_for(made):
    assert [tuple(y.shape[1:]) for y in made["maps"]] == [(64, 16, 16), (96, 8, 8), (192, 4, 4)]
    assert made["dense"].feature_info.reduction() == [4, 8, 16, 16]
    assert [tuple(y.shape[2:]) for y in made["backbone"](made["images"]).feature_maps] == [(16, 16), (8, 8), (4, 4)]
    levels = [tuple(level.shape[1:]) for level in made["levels"].values()]
    assert levels == [(32, 128 >> i, 128 >> i) for i in (2, 3, 4, 5)]


@pytest.mark.parametrize("name", ["unet", "fpn", "deeplab", "deeplab_plus", "pan"])
def test_segmenters_learn_to_their_stem(made, name):
    logits = made[name](made["images"])
    assert logits.shape == (2, 5, 128, 128)
    logits.square().mean().backward()
    learns_to_its_stem(made[name])


@pytest.mark.parametrize("name", ["rt_detr", "d_fine", "detector"])
def test_detectors_learn_to_their_stem(made, name):
    if name == "detector":
        losses = made[name].train()(list(made["images"]), made["things"])
        sum(losses.values()).backward()
    learns_to_its_stem(made[name])  # the page took a step with the others


def learns_to_its_stem(model):
    stem = "patch_embed1.projection.0.weight"
    first = next(each.grad for name, each in model.named_parameters() if name.endswith(stem))
    assert first is not None and first.isfinite().all() and first.abs().max() > 0


def test_weights_are_given_to_the_network_within(made):
    import segmentation_models_pytorch as smp

    weights = made["weights"]
    model = smp.Unet(
        "tu-moganet_nano.cifar10", encoder_weights=None, encoder_depth=4, decoder_channels=(64, 32, 16, 8), classes=2
    )
    made["give"](model, weights)
    own = next(part for part in model.modules() if isinstance(part, MogaNet)).eval()
    x = made["images"]
    with torch.no_grad():
        assert torch.allclose(own.forward_features(x), weights.eval().forward_features(x), atol=1e-4)
