"""The variants: exact sizes, names, and options that timm's users expect."""

import pytest
import timm
import torch

from moganet import build_network
from moganet.network import ALIASES, VARIANTS, full_name, variant_of_shape
from moganet.network.cost import count_macs, count_parameters, layer_costs

# name: (parameters with 1000 classes, {input size: published multiply-adds in G})
PUBLISHED = {
    "moganet_xtiny": (2_956_066, {224: 0.80, 256: 1.04}),
    "moganet_tiny": (5_197_332, {224: 1.10, 256: 1.44}),
    "moganet_small": (25_335_675, {224: 4.97}),
    "moganet_base": (43_720_475, {224: 9.93}),
    "moganet_large": (82_480_978, {224: 15.9}),
    "moganet_xlarge": (180_991_924, {224: 34.5}),
}


def meta(name, **options):
    with torch.device("meta"):
        return build_network(name, **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_exact_and_macs_as_published(name):
    (parameters, macs), network = PUBLISHED[name], meta(name)
    assert count_parameters(network) == parameters
    for size, published in macs.items():
        assert count_macs(network, 3, (size, size)) / 1e9 == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("name", VARIANTS)
def test_timm_makes_every_variant_with_its_own_options(name):
    assert name in timm.list_models("moganet*")
    with torch.device("meta"), torch.no_grad():
        network = timm.create_model(name, num_classes=10, in_chans=1, drop_path_rate=0.1).eval()
        assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert network.default_cfg["classifier"] == "head"


@pytest.mark.parametrize(("short", "name"), ALIASES.items())
def test_short_names_stand_for_variants(short, name):
    assert full_name(short) == full_name(name) == full_name(name.removeprefix("moganet_")) == name
    assert variant_of_shape(**VARIANTS[name]) == name


@pytest.mark.parametrize(("stride", "sizes"), [(4, (16, 8, 4, 2)), (2, (32, 16, 8, 4)), (1, (64, 32, 16, 8))])
def test_stem_stride_changes_the_maps_and_no_tensor(stride, sizes):
    network = build_network("nano", stem_stride=stride).eval()
    with torch.inference_mode():
        maps = network.forward_intermediates(torch.zeros(1, 3, 64, 64), intermediates_only=True)
    assert tuple(m.shape[-1] for m in maps) == sizes
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in meta("nano").state_dict().items()}
    assert [info["reduction"] for info in network.feature_info] == [stride, 2 * stride, 4 * stride, 8 * stride]


def test_own_shapes_and_the_articles_options_take_effect():
    network = build_network(
        "nano",
        embed_dims=(16, 16, 24, 32),
        depths=(1, 2, 1, 1),
        mlp_ratios=(2, 2, 3, 3),
        drop_rate=0.2,
        ls_init_value=0.5,
        dilations=(1, 2, 4),
        channel_split=(1, 1, 2),
        dilate_last_stage=False,
        conv_init="fan_in",
    )
    first, last = network.blocks1[0], network.blocks4[0]
    assert first.mlp.fc1.out_channels == 32 and last.mlp.fc1.out_channels == 96
    assert first.mlp.drop1.p == first.mlp.drop2.p == 0.2
    assert first.layer_scale_1.unique().item() == first.layer_scale_2.unique().item() == 0.5
    assert first.attn.value.DW_conv2.dilation == (4, 4) and last.attn.value.DW_conv2.dilation == (1, 1)
    assert first.attn.value.DW_conv1.in_channels == 4 and first.attn.value.DW_conv2.in_channels == 8
    assert len(network.blocks2) == 2


@pytest.mark.parametrize("init", ["fan_out", "fan_in"])
def test_initialisation_follows_its_source(init):
    torch.manual_seed(0)
    network = build_network("small", conv_init=init)
    conv = network.patch_embed3.projection  # 128 -> 320, 3x3
    fan = 9 * (conv.out_channels if init == "fan_out" else conv.in_channels)
    assert conv.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.01)
    assert network.head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert all(not m.bias.any() for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
    assert network.blocks1[0].attn.sigma.scale.unique().item() == pytest.approx(1e-5)
    assert network.blocks1[0].layer_scale_1.unique().item() == pytest.approx(1e-5)


def test_stochastic_depth_grows_linearly_over_all_blocks():
    network = build_network("xt", drop_path_rate=0.17)
    rates = [getattr(m.drop_path, "drop_prob", 0.0) for m in network.modules() if type(m).__name__ == "MogaBlock"]
    assert rates == pytest.approx([0.17 * i / 17 for i in range(18)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stem_stride": 3}, "stem_stride is 3"),
        ({"gate": "triple"}, "'single', 'double'"),
        ({"channel_aggregation": "x"}, "'reference', 'paddle'"),
        ({"depths": (1, 1)}, "four positive numbers"),
        ({"embed_dims": (2, 16, 16, 16)}, "leaves a group"),
        ({"dilations": (1, 2)}, "three numbers"),
    ],
)
def test_what_can_not_be_built_is_said(options, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        build_network("nano", **options)


def test_an_unknown_variant_lists_the_known_ones():
    with pytest.raises(ValueError, match="moganet_xlarge"):
        build_network("moganet_huge")


def test_the_ports_function_leaves_decompose_without_part_in_training():
    network = build_network("nano", channel_aggregation="paddle", num_classes=3)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == ("decompose" in name) == (not parameter.requires_grad), name


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 33])
def test_cropped_kernels_change_no_result_and_no_gradient(size):
    torch.manual_seed(0)
    plain, cropped = (build_network("nano", stem_stride=1, num_classes=4, crop_kernels=c) for c in (False, True))
    cropped.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, size, size + 3)
    gradients = []
    for network in (plain, cropped):
        network(x).square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    with torch.inference_mode():
        assert torch.allclose(plain.eval()(x), cropped.eval()(x), atol=1e-6)
    for name, gradient in gradients[0].items():
        scale = gradient.abs().max().clamp(min=1e-6)
        assert (gradient - gradients[1][name]).abs().max() < 1e-3 * scale + 1e-6, name


def test_layer_costs_name_every_layer_and_sum_up():
    layers = layer_costs(build_network("nano"), 3, (64, 64))
    assert sum(layer.parameters for layer in layers) + sum(
        p.numel() for n, p in build_network("nano").named_parameters() if "layer_scale" in n
    ) == count_parameters(build_network("nano"))
    assert layers[-1].name == "head" and layers[-1].output == (1000,)
    assert layers[0].name == "patch_embed1.projection.0" and layers[0].output == (16, 32, 32)
