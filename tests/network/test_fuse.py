"""The fused network gives what the plain one gives: on every golden file, and at the edges of its algebra."""

import pytest
import torch
from conftest import GOLDEN, MINI, fill, golden, noise_image
from golden_files import FULL, RELEASED

from moganet import build_network
from moganet.models.formats import read_checkpoint
from moganet.models.reading.checkpoint import architecture_of
from moganet.network.fuse import crop_to_size, fuse

TOLERANCE = 2e-5  # of the logits' standard deviation
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def filled(variant, **options):
    network = build_network(variant, **options).eval()
    network.load_state_dict(fill(network.state_dict()))
    return network


def deviation(given, expected):
    return ((given - expected).abs().max() / expected.std()).item()


@pytest.mark.parametrize("file", FULL)
def test_full_variants_on_their_golden_files(file):
    variant, gate, size = FULL[file]
    network, x, expected = filled(variant, gate=gate), noise_image(1, size), golden(file)
    fused = fuse(network)
    maps, logits = fused.forward_intermediates(x), fused(x)
    assert deviation(logits, network(x)) < TOLERANCE and deviation(logits, expected["logits"]) < TOLERANCE
    for i, stage in enumerate(maps, 1):
        assert (stage.mean((0, 2, 3)) - expected[f"stage{i}.mean"]).abs().max() < 1e-5
        assert (stage[0, :, :2, :2] - expected[f"stage{i}.corner"]).abs().max() < 1e-5


def released(file):
    """Give the network of a file in a release's format."""
    checkpoint = read_checkpoint(GOLDEN / file)
    architecture = architecture_of(checkpoint)
    network = build_network(architecture.name, **architecture.options()).eval()
    network.load_state_dict(checkpoint.state, strict=checkpoint.format != "paddle")
    return network


@pytest.mark.parametrize(("file", "expected_file"), RELEASED.items())
def test_released_formats_on_their_golden_files(file, expected_file):
    network, expected = released(file), golden(expected_file)
    fused = fuse(network)
    assert deviation(fused(expected["input"]), expected["logits"]) < TOLERANCE
    for i, stage in enumerate(fused.forward_intermediates(expected["input"]), 1):
        assert (stage - expected[f"stage{i}"]).abs().max() < 1e-5


@pytest.mark.parametrize(("file", "expected_file"), RELEASED.items())
def test_every_function_answers_by_autocast(file, expected_file):
    network, expected = released(file), golden(expected_file)
    with torch.autocast("cpu", torch.bfloat16):
        assert deviation(fuse(network)(expected["input"]), expected["logits"]) < 0.1


@pytest.mark.parametrize("aggregation", ["reference", "paddle"])
@pytest.mark.parametrize("gate", ["single", "double"])
@pytest.mark.parametrize("edge", ["sigma is -1", "sigma is large", "gamma is 0", "gamma is negative", "shortcut is 0"])
def test_no_value_of_a_parameter_is_an_exception(edge, gate, aggregation):
    network = filled("xt", **MINI, gate=gate, channel_aggregation=aggregation)
    for name, parameter in network.named_parameters():
        if edge.startswith("sigma") and name.endswith("sigma.scale"):
            parameter[:, ::2] = -1.0 if edge == "sigma is -1" else 50.0
        if edge.startswith("gamma") and "norm" in name and name.endswith("weight"):
            parameter[::2] *= 0.0 if edge == "gamma is 0" else -1.0
        if edge == "shortcut is 0" and name.endswith("norm1.weight"):
            parameter[:] = 10.0
        if edge == "shortcut is 0" and name.endswith("layer_scale_1"):
            block = network.get_submodule(name.rpartition(".")[0])
            parameter[:] = -(block.norm1.running_var + 1e-5).sqrt()[None, :, None, None] / 10
    x = noise_image(2, 64)
    assert deviation(fuse(network).double()(x.double()), network.double()(x.double())) < 1e-4


@pytest.mark.parametrize("size", [(32, 32), (33, 65), (64, 40)])
def test_sizes_memory_formats_and_cropped_kernels(size):
    network, x = filled("nano", num_classes=10), torch.randn(2, 3, *size)
    fused, expected = fuse(network), network(x)
    assert deviation(fused(x), expected) < TOLERANCE
    last = x.to(memory_format=torch.channels_last)
    assert deviation(fused.to(memory_format=torch.channels_last)(last), expected) < TOLERANCE
    cropped = crop_to_size(fused, 3, size)
    assert deviation(cropped(x), expected) < TOLERANCE
    assert not any(type(module).__name__ == "DepthwiseConv2d" for module in cropped.modules())
    assert any(type(module).__name__ == "DepthwiseConv2d" for module in fused.modules())


def test_the_plain_network_stays_as_it_is_and_the_fused_one_is_not_trained():
    network = filled("xt", **MINI)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fused = fuse(network)
    with torch.enable_grad():
        assert not fused(noise_image(1, 32)).requires_grad
    assert not any(p.requires_grad for p in fused.parameters()) and all(p.requires_grad for p in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize(
    "options", [{"stem_stride": 1}, {"in_chans": 1}, {"num_classes": 0}, {"dilate_last_stage": False}]
)
def test_every_option_of_the_network(options):
    network = filled("nano", **options)
    x = torch.randn(2, options.get("in_chans", 3), 40, 40)
    assert deviation(fuse(network)(x), network(x)) < TOLERANCE


def test_a_pruned_network_is_fused_too():
    network = filled("nano")
    network.prune_intermediate_layers([1])
    x = noise_image(1, 64)
    assert deviation(fuse(network)(x), network(x)) < TOLERANCE


def test_float16_stays_finite_where_the_gates_product_would_not():
    network = filled("xt", **MINI)
    attention = network.blocks1[0].attn
    attention.gate.bias.fill_(400.0)
    attention.value.PW_conv.bias.fill_(400.0)  # their product is above 65,504
    attention.proj_2.weight *= 1e-3
    x = noise_image(1, 64)
    given = fuse(network.half())(x.half()).float()
    assert given.isfinite().all() and deviation(given, network.float()(x)) < 0.05
