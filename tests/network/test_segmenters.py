"""Segmenters compute what the reference's do, have its parameters, and cost what was published."""

import numpy as np
import pytest
import torch
from dense_files import FILES, golden_dense, picture, published, scene
from torch.nn import functional as F

from moganet.config import Architecture, Preprocessing
from moganet.data.bilinear import resize_rows
from moganet.data.masks_coding import IGNORED
from moganet.data.resample import normalize, resize_and_crop
from moganet.models.build import build_blank, build_network_for
from moganet.models.reading.mm_config import REFERENCE
from moganet.network.cost import count_parameters, measure
from moganet.network.dense.outline import outline_of
from moganet.network.dense.pyramid import maps_of
from moganet.tasks.segment.description import SegmentLoss
from moganet.tasks.segment.losses import PixelLoss

AMBIGUOUS = 255  # where the two best classes are as good as equal
RELATIVE = 1e-5  # of a tensor's largest value
# Parameters, and multiply-adds (G) at 2048x512 as published: Semantic FPN; UPerNet with, and without the second head.
PUBLISHED = {
    "xtiny": (6_865_872, 101.4, 30_441_062, 855.7),
    "tiny": (9_067_714, 107.8, 33_134_424, 862.4),
    "small": (29_089_321, 189.7, 55_310_527, 946.4),
    "base": (47_482_313, 293.6, 73_711_711, 1050.4),
    "large": (86_147_584, 418.7, 113_196_182, 1176.1),
}


def made(name):
    variant, head = FILES[name]
    network = build_network_for(Architecture(name=variant, head=head, num_classes=150)).eval()
    network.load_state_dict(published(name))
    return network


def apart(given, expected):
    return float((given - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", FILES)
def test_features_logits_and_answers_are_the_references(name):
    network, (expected, told) = made(name), golden_dense(name)
    for case, how in told["cases"].items():
        x, want = scene(how["height"], how["width"], how["seed"]), lambda key, case=case: expected[f"{case}.{key}"]
        with torch.inference_mode():
            maps = maps_of(network.backbone, x)
            logits, levels = network.decoded(maps), network.neck(maps) if hasattr(network, "neck") else []
            auxiliary = network.auxiliary_head(maps) if hasattr(network, "auxiliary_head") else None
            whole = F.interpolate(logits, x.shape[2:], mode="bilinear")
        for kind, found in (("stage", maps), ("fpn", levels)):
            for i, y in enumerate(found, kind == "stage"):
                assert apart(y.mean((2, 3)), want(f"{kind}{i}.mean")) < RELATIVE
                assert apart(y[:, :32, :3, :3], want(f"{kind}{i}.corner")) < RELATIVE
        assert apart(logits[0, :, ::4, ::4], want("head_logits")) < RELATIVE
        assert apart(logits[0].mean((1, 2)), want("head_logits_mean")) < RELATIVE
        assert apart(whole[0, :, ::16, ::16], want("logits")) < RELATIVE
        assert (auxiliary is None) == (name != "upernet_xtiny")
        if auxiliary is not None:
            assert apart(auxiliary[0, :, ::2, ::2], want("aux_logits")) < RELATIVE
        # The reference's answer takes two steps, by way of the input's size.
        at_original = resize_rows(whole[0].numpy(), tuple(how["original"]), slice(None)).argmax(0)
        for given, key in ((whole[0].argmax(0).numpy(), "argmax"), (at_original, "argmax_rescaled")):
            clear = want(key).numpy() != AMBIGUOUS
            assert clear.mean() > 0.99 and (given == want(key).numpy())[clear].all()


@pytest.mark.parametrize(
    "name", ["semantic_fpn_xtiny", "upernet_xtiny", pytest.param("semantic_fpn_tiny", marks=pytest.mark.slow)]
)
def test_losses_and_gradients_are_the_references(name):
    network, (expected, told) = made(name), golden_dense(name)
    how, labels = told["loss"], expected["loss.labels"].long()
    masks = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    masks[masks == 255] = IGNORED
    loss_of = PixelLoss(SegmentLoss())
    logits, auxiliary = network.forward_train(scene(how["height"], how["width"], how["seed"], how["images"]))
    losses = {"decode": loss_of(logits, masks)}
    if auxiliary is not None:
        losses["aux"] = SegmentLoss().auxiliary_weight * loss_of(auxiliary, masks)
    for key, loss in losses.items():
        assert loss.item() == pytest.approx(expected[f"loss.{key}.loss_ce"].item(), rel=RELATIVE)
    sum(losses.values()).backward()
    wanted = {key.removeprefix("grad_norm."): norm for key, norm in expected.items() if key.startswith("grad_norm.")}
    for part, norm in wanted.items():
        gradients = [p.grad for p in network.get_submodule(part).parameters() if p.grad is not None]
        total = torch.stack([gradient.double().norm() for gradient in gradients]).norm()  # of millions of values
        assert total.item() == pytest.approx(norm.item(), rel=RELATIVE), part


@pytest.mark.parametrize("case", ["seg0", "seg1", "seg2", "seg3"])
def test_images_become_the_references_input(case):
    expected, told = golden_dense("preprocess")
    how = told["cases"][case]
    sized = resize_and_crop(picture(how["height"], how["width"], how["seed"]), REFERENCE)
    x = normalize(sized, REFERENCE)
    assert [*sized.shape[1:]] == expected[f"{case}.shape"].tolist()[2:]
    assert (sized[:, ::32, ::32].transpose(1, 2, 0) == expected[f"{case}.resized"].numpy()).all()  # OpenCV's very bytes
    assert np.abs(x[:, ::32, ::32] - expected[f"{case}.input"].numpy()).max() < 1e-5
    assert np.abs(x.mean((1, 2), np.float64) - expected[f"{case}.mean"].numpy()).max() < 1e-5


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 4)])
def test_images_of_any_shape_fit(shape):
    own = Preprocessing(size=(32, 64), crop_mode="fit", multiple=32, interpolation="bilinear", antialias=False)
    sized = resize_and_crop(np.zeros((3, *shape), np.uint8), own)
    assert all(side % 32 == 0 and 32 <= side <= 64 for side in sized.shape[1:])


@pytest.mark.parametrize("variant", PUBLISHED)
def test_parameters_are_exact_and_macs_as_published(variant):
    fpn, fpn_macs, upernet, upernet_macs = PUBLISHED[variant]
    for head, parameters, macs in (("fpn", fpn, fpn_macs), ("upernet", upernet, upernet_macs)):
        found = outline_of(Architecture(name=f"moganet_{variant}", head=head, num_classes=150), (512, 2048))
        assert found.parameters == parameters
        assert sum(layer.macs for layer in found.layers) / 1e9 == pytest.approx(macs, rel=2e-3)


@pytest.mark.parametrize("head", ["fpn", "upernet", {"name": "fpn", "neck": 24, "channels": 8, "auxiliary": 4}])
def test_an_outline_is_what_is_measured(head):
    architecture = Architecture(name="moganet_nano", head=head, num_classes=7, drop_path_rate=0.1)
    network, size = build_blank(architecture), (41, 224)
    parameters, (layers, stages) = count_parameters(network), measure(network, 3, size)
    found = outline_of(architecture, size)
    assert found.layers == layers and found.stages == stages and found.parameters == parameters


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("convnext_atto", {"name": "upernet", "channels": 8}),
        ("swin_tiny_patch4_window7_224", {"name": "fpn", "neck": 8, "channels": 8}),  # channels come last
        ("vit_tiny_patch16_224", {"name": "fpn", "neck": 8, "channels": 8}),  # all maps of one stride
    ],
)
def test_any_network_of_timms_with_maps_carries_a_head(name, head):
    network = build_blank(Architecture(name=f"timm:{name}", head=head, num_classes=5)).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 5, 224, 224)
    modules = dict(network.named_modules())
    assert all(stage["module"] in modules for stage in network.feature_info)


def test_smps_decoders_stand_on_the_maps():
    pytest.importorskip("segmentation_models_pytorch")
    architecture = Architecture(name="moganet_nano", head="smp:Unet", num_classes=7)
    network = build_network_for(architecture).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 65, 97)).shape == (2, 7, 65, 97)
