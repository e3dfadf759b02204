"""The network computes what the reference implementation computes."""

import pytest
import torch
from conftest import GOLDEN, MINI, fill, golden, noise_image
from golden_files import FULL, RELEASED
from torch.nn import functional as F

from moganet import build_network
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of


@pytest.mark.parametrize("crop_kernels", [True, False])
@pytest.mark.parametrize("file", FULL)
def test_full_variants_give_the_references_logits_and_stage_statistics(file, crop_kernels):
    variant, gate, size = FULL[file]
    network = build_network(variant, gate=gate, crop_kernels=crop_kernels).eval()
    network.load_state_dict(fill(network.state_dict()))
    expected = golden(file)
    with torch.inference_mode():
        last, maps = network.forward_intermediates(noise_image(1, size))
        logits = network.forward_head(last)
    for i, stage in enumerate(maps, 1):
        assert (stage.mean((0, 2, 3)) - expected[f"stage{i}.mean"]).abs().max() < 1e-5
        assert (stage.std((0, 2, 3)) - expected[f"stage{i}.std"]).abs().max() < 1e-5
        assert (stage[0, :, :2, :2] - expected[f"stage{i}.corner"]).abs().max() < 1e-5
    assert (logits - expected["logits"]).abs().max() < 1e-5


@pytest.mark.parametrize(("file", "expected_file"), RELEASED.items())
def test_released_formats_give_their_own_logits_stages_and_gradients(file, expected_file):
    network = _network_of(file).eval()
    expected = golden(expected_file)
    last, maps = network.forward_intermediates(expected["input"])
    logits = network.forward_head(last)
    assert (logits - expected["logits"]).abs().max() < 1e-5
    for i, stage in enumerate(maps, 1):
        assert (stage - expected[f"stage{i}"]).abs().max() < 1e-5
    if "loss" not in expected:
        return
    loss = F.cross_entropy(logits, torch.tensor([3, 7]))
    loss.backward()
    assert (loss - expected["loss"]).abs() < 1e-5
    gradients = {name: p.grad.norm() for name, p in network.named_parameters()}
    assert gradients.keys() == {n.removeprefix("grad_norm.") for n in expected if n.startswith("grad_norm.")}
    for name, norm in gradients.items():
        assert norm.item() == pytest.approx(expected[f"grad_norm.{name}"].item(), rel=1e-4), name


@pytest.mark.parametrize("option", [{"gate": "double"}, {"channel_aggregation": "paddle"}])
def test_the_functions_differ_on_the_same_weights(option):
    expected = golden("mini_single_gate_expected")
    state = read_checkpoint(GOLDEN / "mini_official.pth.tar").state
    network = build_network("xt", **MINI, **option).eval()
    network.load_state_dict(state)
    with torch.inference_mode():
        assert (network(expected["input"]) - expected["logits"]).abs().max() > 1e-3


def _network_of(file):
    checkpoint = read_checkpoint(GOLDEN / file)
    architecture = architecture_of(checkpoint)
    network = build_network(architecture.name, **architecture.options())
    network.load_state_dict(checkpoint.state, strict=checkpoint.format != "paddle")
    return network
