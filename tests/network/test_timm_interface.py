"""What timm's users do with a backbone works on every variant's class."""

import pytest
import timm
import torch

from moganet import build_network

SMALL = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1)}


def test_features_only_gives_the_stages_that_were_asked_for():
    network = timm.create_model("moganet_nano", features_only=True, out_indices=(0, 2)).eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(1, 32, 16, 24), (1, 96, 4, 6)]
    assert network.feature_info.channels() == [32, 96] and network.feature_info.reduction() == [4, 16]


@pytest.mark.parametrize("indices", [None, 1, 2, [0], [1, 3], [-1]])
def test_intermediates_are_the_forward_pass_own_maps(indices):
    network = build_network("nano", **SMALL).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        every = network.forward_intermediates(x, intermediates_only=True)
        last, maps = network.forward_intermediates(x, indices)
        expected = timm.models._features.feature_take_indices(4, indices)[0]
        assert all(torch.equal(m, every[i]) for m, i in zip(maps, expected, strict=True))
        assert torch.equal(last, network.forward_features(x))
        early = network.forward_intermediates(x, [0], stop_early=True, intermediates_only=True)
        assert len(early) == 1 and torch.equal(early[0], every[0])


def test_heads_can_be_reset_left_out_and_read():
    network = build_network("nano", **SMALL).eval()
    x = torch.randn(2, 3, 32, 32)
    features = network.forward_features(x)
    assert network.forward_head(features, pre_logits=True).shape == (2, 32)
    network.reset_classifier(7)
    assert network(x).shape == (2, 7) and network.get_classifier() is network.head and network.num_classes == 7
    network.reset_classifier(0)
    assert torch.equal(network(x), network.forward_head(features, pre_logits=True))
    network.reset_classifier(0, "")
    assert torch.equal(network(x), features)


def test_gradient_checkpointing_changes_no_gradient():
    plain, saving = build_network("nano", **SMALL), build_network("nano", **SMALL)
    saving.load_state_dict(plain.state_dict())
    saving.set_grad_checkpointing()
    x = torch.randn(2, 3, 32, 32)
    for network in (plain, saving):
        network(x).square().sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name


def test_weight_decay_spares_norms_biases_layer_scales_and_sigmas():
    network = build_network("nano")
    spared = network.no_weight_decay()
    decayed = {n for n, p in network.named_parameters() if n not in spared and p.ndim > 1}
    assert all(n.endswith(".weight") for n in decayed)
    assert not any(mark in n for n in decayed for mark in ("norm", "layer_scale", "sigma"))


def test_torchscript_gives_the_same_logits():
    network = build_network("nano", **SMALL).eval()
    x = torch.randn(1, 3, 40, 40)
    scripted = torch.jit.script(network)
    with torch.inference_mode():
        assert torch.equal(scripted(x), network(x))
