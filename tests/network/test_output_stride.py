"""A network that is dilated instead of striding (`output_stride` 16 or 8) computes what the plain one does, denser."""

import copy

import pytest
import timm
import torch
from conftest import MINI
from timm.utils.model import freeze_batch_norm_2d

import moganet
from moganet import build_network
from moganet.errors import ConfigError
from moganet.network.blocks import MogaBlock
from moganet.network.fuse import fuse

STRIDES = (16, 8)


def network(seed=0, **options):
    """Make a small network whose every parameter and statistic matters, in float64."""
    made = build_network("xt", **{**MINI, **options}).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in made.state_dict().items():
        if tensor.ndim > 1 and name.endswith("weight"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5)
        elif tensor.is_floating_point():  # scales, biases, norms and their statistics
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return made


def without_means(made):
    """Leave out what is of the whole map, the mean that feature decomposition takes: it is of more pixels there."""
    for block in (module for module in made.modules() if isinstance(module, MogaBlock)):
        block.attn.sigma.scale.data.zero_()
    return made


def maps_of(made, x):
    with torch.no_grad():
        return made.forward_intermediates(x, intermediates_only=True)


@pytest.mark.parametrize("function", [{}, {"gate": "double", "channel_aggregation": "paddle"}], ids=str)
@pytest.mark.parametrize("size", [(64, 96), (70, 53)], ids=str)
@pytest.mark.parametrize("stride", STRIDES)
def test_every_so_many_pixels_the_dense_maps_are_the_plain_ones(stride, size, function):
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain, dense = (maps_of(without_means(network(**function, **more)), x) for more in ({}, {"output_stride": stride}))
    for place, (coarse, fine) in enumerate(zip(plain, dense, strict=True)):
        step = max(4 * 2**place // stride, 1)
        assert fine.shape[2:] == tuple(-(-side // min(4 * 2**place, stride)) for side in size)
        assert torch.equal(coarse, fine) if step == 1 else torch.allclose(coarse, fine[..., ::step, ::step], atol=1e-12)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1)])
def test_between_them_they_are_the_plain_network_s_of_a_shifted_image(shift):
    plain, dense = without_means(network()), without_means(network(output_stride=16))
    x = torch.randn(1, 24, 72, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down, right = shift
    with torch.no_grad():
        coarse, fine = (
            made.norm4(made.blocks4(made.patch_embed4(image)))
            for made, image in ((plain, x[..., down:, right:]), (dense, x))
        )
    inner = slice(13, 22)  # where no tap meets the border: 2 + 9 pixels by the orders, and one by the channel mixer
    assert torch.allclose(coarse[..., inner, inner], fine[..., down::2, right::2][..., inner, inner], atol=1e-12)


def test_at_32_nothing_changes_and_the_tensors_are_always_the_same():
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    plain = timm.create_model("moganet_nano").eval()
    for stride in (32, *STRIDES):
        made = timm.create_model("moganet_nano", output_stride=stride).eval()
        made.load_state_dict(plain.state_dict())
        assert torch.equal(made(x), plain(x)) == (stride == 32)


@pytest.mark.parametrize(
    ("stem", "stride", "expected"),
    [(4, 16, [4, 8, 16, 16]), (4, 8, [4, 8, 8, 8]), (2, 32, [2, 4, 8, 16]), (2, 8, [2, 4, 8, 8]), (1, 8, [1, 2, 4, 8])],
)
def test_reductions_are_those_of_the_maps(stem, stride, expected):
    made = timm.create_model(
        "moganet_nano", features_only=True, out_indices=(0, 1, 2, 3), stem_stride=stem, output_stride=stride
    )
    with torch.device("meta"):
        maps = made.to("meta")(torch.zeros(1, 3, 64, 64))
    assert made.feature_info.reduction() == expected == [64 // y.shape[2] for y in maps]


@pytest.mark.parametrize("stride", [4, 12, 64, "16"])
def test_other_strides_are_refused(stride):
    with pytest.raises(ValueError, match="must be 32, 16 or 8"):
        build_network("nano", output_stride=stride)


@pytest.mark.parametrize("stride", STRIDES)
def test_fused_scripted_and_with_frozen_norms_it_answers_the_same(stride):
    made = network(output_stride=stride)
    x = torch.randn(2, 3, 72, 56, dtype=torch.float64)
    with torch.no_grad():
        expected, logits = maps_of(made, x), made(x)
        for form in (fuse(made), fuse(freeze_batch_norm_2d(copy.deepcopy(made)))):
            assert all(torch.allclose(a, b) for a, b in zip(form.forward_intermediates(x), expected, strict=True))
            assert torch.allclose(form(x), logits)
        if stride == 8:  # TorchScript is slow
            assert torch.allclose(torch.jit.script(made)(x), logits)


@pytest.mark.parametrize("stride", STRIDES)
def test_it_learns_by_the_gradients_of_the_plain_form(stride):
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    found = []
    for form in ("by parts", "lean", "plain", "again"):
        made = network(output_stride=stride).train()
        made.set_lean(form == "lean")
        made.set_grad_checkpointing(form == "again")
        for block in (module for module in made.modules() if isinstance(module, MogaBlock)):
            block.by_parts = form != "plain"
        made(x).square().mean().backward()
        found.append({name: each.grad for name, each in made.named_parameters()})
    for other in found[1:]:
        assert all(torch.allclose(grad, other[name], rtol=1e-7, atol=1e-11) for name, grad in found[0].items())


def test_a_predictor_of_it_answers_as_it_does_and_no_file_loses_it(tmp_path):
    torch.manual_seed(0)
    made = build_network("nano", **MINI, ls_init_value=1.0, output_stride=8).eval()
    predictor = moganet.model(made, [f"c{i}" for i in range(10)], {"size": 64}, runtime="eager")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(predictor.logits(x), made(x), atol=1e-4)
    with pytest.raises(ConfigError, match="has options that a model file does not keep"):
        predictor.save(tmp_path / "dense.safetensors")
