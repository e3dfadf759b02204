"""What timm's users and tools expect of a backbone, over every variant."""

import copy

import pytest
import timm
import torch
from timm.models import get_notrace_functions, get_notrace_modules
from timm.optim import param_groups_layer_decay
from torchvision.models.feature_extraction import NodePathTracer

from moganet import build_network
from moganet.compat import take_indices
from moganet.network import VARIANTS
from moganet.network.cost import count_parameters

SHALLOW = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "num_classes": 10}
FUNCTIONS = [
    {"gate": gate, "channel_aggregation": aggregation}
    for gate in ("single", "double")
    for aggregation in ("reference", "paddle")
]
FEWER = {"depths": (1, 1, 2, 1)}
LARGE = ("moganet_base", "moganet_large", "moganet_xlarge")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=VARIANTS)
def network(request):
    """One real network a variant, as timm makes it; the large ones have fewer blocks. Tests leave it as it was."""
    torch.manual_seed(0)
    return timm.create_model(request.param, num_classes=42, **(FEWER if request.param in LARGE else {})).eval()


def trace(model):
    tracer = NodePathTracer(leaf_modules=list(get_notrace_modules()), autowrap_functions=list(get_notrace_functions()))
    return torch.fx.GraphModule(model, tracer.trace(model))


def test_default_configuration_names_real_layers_and_shapes(network):
    cfg, state = network.default_cfg, network.state_dict()
    assert cfg["license"] == "apache-2.0" and cfg["fixed_input_size"] is False
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == 3 and state[f"{cfg['classifier']}.weight"].shape[0] == 42
    with torch.device("meta"), torch.no_grad():
        shapes = copy.deepcopy(network).to("meta")
        x = torch.zeros(1, *cfg["input_size"])
        assert shapes.forward_features(x).shape[-2:] == cfg["pool_size"]
        shapes.reset_classifier(0)
        assert shapes(x).shape == (1, network.num_features)
        shapes.reset_classifier(0, "")
        assert shapes(x).shape == (1, network.num_features, *cfg["pool_size"])


def test_sizes_from_32_up_in_both_memory_formats(network):
    turned = copy.deepcopy(network).to(memory_format=torch.channels_last)
    for size in (32, 32), (33, 47), (64, 32), (97, 35):
        x = torch.randn(1, 3, *size)
        with torch.inference_mode():
            logits, last = network(x), turned(x.to(memory_format=torch.channels_last))
        assert torch.allclose(last, logits, atol=1e-4 * logits.abs().max() + 1e-5), size
        assert logits.shape == (1, 42) and logits.isfinite().all()


def test_bf16_autocast_is_close(network):
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        full = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.isfinite().all() and (half.float() - full).abs().max() < 0.1 * full.abs().max() + 0.02


def test_backward_reaches_every_parameter(network):
    trained = copy.deepcopy(network).train()
    trained(torch.randn(2, 3, 64, 64)).mean().backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_features_and_intermediates_are_the_stages_maps(network):
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        last, maps = network.forward_intermediates(x)
        assert torch.equal(last, maps[-1]) and torch.equal(last, network.forward_features(x))
        assert torch.equal(network.forward_head(last), network(x))
    channels = [info["num_chs"] for info in network.feature_info]
    assert [tuple(m.shape[1:]) for m in maps] == [(c, 16 >> i, 24 >> i) for i, c in enumerate(channels)]


def test_symbolic_tracing_and_torchscript_change_nothing(network):
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        logits = network(x)
        traced = trace(network)
        assert torch.allclose(traced(x), logits, atol=1e-5)
        if count_parameters(network) > 2.5e6:  # the same class again, and TorchScript is slow
            return
        assert torch.allclose(torch.jit.script(network)(x), logits, atol=1e-5)
        assert torch.allclose(torch.jit.script(traced)(x), logits, atol=1e-5)


@pytest.mark.parametrize("name", [name if name == "moganet_nano" else slow(name) for name in VARIANTS])
def test_a_traced_network_trains(name):
    traced = trace(timm.create_model(name, **(FEWER if name in LARGE else {})).train())
    traced(torch.randn(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None for p in traced.parameters())


@pytest.mark.parametrize("channels", [1, 2, 4, 5])  # test_variants.py makes every variant with one
def test_any_number_of_input_channels(channels):
    network = timm.create_model("moganet_nano", in_chans=channels, num_classes=3).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, channels, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "indices"),
    [*((name, (0, 2)) for name in VARIANTS), *(("moganet_nano", some) for some in ((0, 1, 2, 3), (3,), (-1,)))],
)
def test_features_only_gives_the_stages_that_were_asked_for(name, indices):
    with torch.device("meta"), torch.no_grad():
        network = timm.create_model(name, features_only=True, out_indices=indices, **FEWER).eval()
        maps = network(torch.zeros(1, 3, 64, 96))
    dims = VARIANTS[name]["embed_dims"]
    assert [m.shape[1] for m in maps] == [dims[i] for i in indices] == network.feature_info.channels()
    assert network.feature_info.reduction() == [(4, 8, 16, 32)[i] for i in indices]


@pytest.mark.parametrize("indices", [None, 1, 2, [0], [1, 3], [-1]])
def test_intermediates_take_what_was_asked_for_and_can_stop_early(indices):
    network = build_network("nano", **SHALLOW).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        every = network.forward_intermediates(x, intermediates_only=True)
        expected = take_indices(4, indices)[0]
        for norm in (False, True):
            _, maps = network.forward_intermediates(x, indices, norm=norm)
            assert all(torch.equal(m, every[i]) for m, i in zip(maps, expected, strict=True))
        early = network.forward_intermediates(x, [0], stop_early=True, intermediates_only=True)
        assert len(early) == 1 and torch.equal(early[0], every[0])
    with pytest.raises(ValueError, match="NCHW"):
        network.forward_intermediates(x, output_fmt="NLC")
    with pytest.raises(AssertionError):
        network.forward_intermediates(x, [4])


@pytest.mark.parametrize("indices", [1, [0], [0, 2]])
def test_pruning_keeps_the_maps_that_were_asked_for(indices):
    network = build_network("nano", **SHALLOW).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network.forward_intermediates(x, indices, intermediates_only=True)
        kept = network.prune_intermediate_layers(indices)
        maps = network.forward_intermediates(x, kept, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(expected, maps, strict=True))
    assert network.num_features == expected[-1].shape[1]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: " ".join(f.values()))
def test_every_function_trains_and_checkpoints_equally(function):
    torch.manual_seed(0)
    plain = build_network("nano", **SHALLOW, **function)
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    x = torch.randn(2, 3, 32, 32)
    for network in (plain, saving):
        network(x).square().sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        assert (a.grad is None) == (not a.requires_grad), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name


@pytest.mark.parametrize("function", [FUNCTIONS[0], FUNCTIONS[3]], ids=lambda f: " ".join(f.values()))  # each once
def test_an_export_with_symbolic_height_and_width_holds_for_every_size(function):
    network = build_network("nano", **SHALLOW, **function).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        network, (torch.randn(2, 3, 64, 64),), dynamic_shapes={"x": {0: free, 2: free, 3: free}}
    )
    with torch.inference_mode():
        for size in ((2, 3, 48, 40), (5, 3, 96, 104)):
            x = torch.randn(size)
            assert torch.allclose(program.module()(x), network(x), atol=1e-5)


def test_it_compiles_as_one_graph():
    network = build_network("nano", **SHALLOW).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        assert torch.allclose(compiled(x), network(x), atol=1e-5)


@pytest.mark.parametrize("half", ["autocast", "module"])
@pytest.mark.parametrize("gate", ["single", "double"])
def test_the_gate_stays_finite_in_float16_up_to_1e4(half, gate):
    attention = build_network("nano", gate=gate, num_classes=2).blocks1[0].attn
    with torch.no_grad():  # identities, so that gate and value reach 1e4 both
        for conv in (attention.proj_1, attention.gate, attention.value.PW_conv, attention.proj_2):
            conv.weight.copy_(torch.eye(32)[:, :, None, None])
        for conv in (attention.value.DW_conv0, attention.value.DW_conv1, attention.value.DW_conv2):
            conv.weight.zero_()
            conv.weight[:, :, conv.radius, conv.radius] = 1
    x = torch.full((1, 32, 8, 8), 1e4)
    scripted = torch.jit.script(attention)
    with torch.inference_mode():
        if half == "module":
            attention.half()
            assert attention(x.half()).isfinite().all() and scripted(x.half()).isfinite().all()
        else:
            with torch.autocast("cpu", torch.float16):
                assert attention(x).isfinite().all() and scripted(x).isfinite().all()


def test_orders_are_what_the_blocks_compute():
    network = build_network("nano", **SHALLOW).eval()
    x = torch.randn(2, 3, 64, 64)
    maps = network.forward_orders(x)
    blocks = [f"blocks{s}.{i}" for s, depth in enumerate(SHALLOW["depths"], 1) for i in range(depth)]
    kinds = ("gate", "order_1", "order_2", "order_3", "feature_decomposition", "channel_decomposition")
    assert set(maps) == {f"{block}.{kind}" for block in blocks for kind in kinds}
    block = network.blocks1[0]
    y = block.attn.proj_1(block.norm1(network.patch_embed1(x)))
    assert torch.allclose(maps["blocks1.0.feature_decomposition"], y - y.mean((2, 3), keepdim=True), atol=1e-6)
    y = torch.nn.functional.silu(y + block.attn.sigma.scale * maps["blocks1.0.feature_decomposition"])
    assert torch.allclose(maps["blocks1.0.gate"], torch.nn.functional.silu(block.attn.gate(y)), atol=1e-6)
    orders = torch.cat([maps[f"blocks1.0.order_{i}"] for i in (1, 2, 3)], 1)
    assert torch.allclose(block.attn.value.PW_conv(orders), block.attn.value(y), atol=1e-6)
    assert [maps[f"blocks1.0.order_{i}"].shape[1] for i in (1, 2, 3)] == [1, 3, 4]
    assert maps["blocks1.0.gate"].requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_heads_can_be_reset_left_out_and_read():
    network = build_network("nano", **SHALLOW).eval()
    x = torch.randn(2, 3, 32, 32)
    features = network.forward_features(x)
    assert network.forward_head(features, pre_logits=True).shape == (2, 32)
    network.reset_classifier(7)
    assert network(x).shape == (2, 7) and network.get_classifier() is network.head and network.num_classes == 7
    network.reset_classifier(0)
    assert torch.equal(network(x), network.forward_head(features, pre_logits=True))
    network.reset_classifier(3, "max")
    assert network(x).shape == (2, 3)


def test_weight_decay_spares_norms_biases_layer_scales_and_sigmas(network):
    shapes = {n: p.ndim for n, p in network.named_parameters()}
    decayed = shapes.keys() - network.no_weight_decay()
    assert all(n.endswith(".weight") and shapes[n] > 1 for n in decayed)
    assert not any(mark in n for n in decayed for mark in ("norm", "layer_scale", "sigma"))
    assert {n for n, ndim in shapes.items() if n.endswith(".weight") and ndim > 1} == decayed


def test_layer_decay_grows_from_stem_to_head(network):
    groups = param_groups_layer_decay(network, layer_decay=0.9)
    scales = {}
    names = {id(p): n for n, p in network.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            scales[names[id(parameter)]] = group["lr_scale"]
    assert len(scales) == len(names)
    order = ["patch_embed1.projection.0.weight", "blocks1.0.norm1.weight", "blocks2.0.norm1.weight"]
    order += [f"blocks3.{i}.norm1.weight" for i in range(len(network.blocks3))]
    order += ["blocks4.0.norm1.weight", "head.weight"]
    values = [scales[n] for n in order]
    assert values == sorted(values) and len(set(values)) == len(values) and values[-1] == 1.0
    assert scales["patch_embed3.projection.weight"] <= scales["blocks3.0.norm1.weight"]
    assert scales["norm4.weight"] >= scales["blocks4.0.norm1.weight"]


@pytest.mark.filterwarnings("ignore:The nodes obtained by tracing the model in train mode")  # what timm's fx does
def test_features_by_symbolic_tracing_can_be_scripted():
    network = timm.create_model("moganet_nano", features_only=True, feature_cfg={"feature_cls": "fx"}).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert [m.shape[1] for m in torch.jit.script(network)(x)] == [32, 64, 96, 192]


def test_pooling_and_head_can_be_left_out_at_once():
    network = timm.create_model("moganet_nano", num_classes=0, global_pool="").eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 192, 2, 2)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: " ".join(f.values()))
def test_every_function_trains_under_ddp_without_a_search_for_unused_parameters(function, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        network = torch.nn.parallel.DistributedDataParallel(build_network("nano", **SHALLOW, **function))
        for _ in range(2):  # DDP complains in the second step of what had no gradient in the first
            network(torch.randn(2, 3, 32, 32)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
